//! Where an answer leads.
//!
//! The HTTP client could follow redirects by itself, but it takes only `Authorization` and `Cookie` from requests that go
//! to another host, and keys travel in headers of many other names. So redirects are followed here.

use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{
        ACCEPT, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION,
        TRANSFER_ENCODING,
    },
};

/// The most redirects of one request.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// Headers that another origin gets as well: they are about the content, and hold no key.
const CARRIED: [HeaderName; 4] = [ACCEPT, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_TYPE];

/// Headers of a body that is left behind.
const OF_BODY: [HeaderName; 4] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING];

/// The request that `response` asks for in the place of `sent`, if it is a redirect that can be followed.
///
/// Another origin (scheme, host and port) gets no credentials: none of the caller's headers but those about the content,
/// and no user of a URL.
pub(crate) fn next(sent: Request, response: &Response) -> Option<Request> {
    let keeps_body = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => sent.method() != Method::POST,
        StatusCode::SEE_OTHER => matches!(*sent.method(), Method::GET | Method::HEAD),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return None,
    };
    let url = target(sent.url(), response)?;
    let mut next = sent;
    if !keeps_body {
        *next.method_mut() = Method::GET;
        *next.body_mut() = None;
        for name in &OF_BODY {
            next.headers_mut().remove(name);
        }
    }
    if url.origin() != next.url().origin() {
        let all = std::mem::take(next.headers_mut());
        let carried = CARRIED.into_iter().filter_map(|name| all.get(&name).map(|value| (name, value.clone())));
        next.headers_mut().extend(carried);
    }
    *next.url_mut() = url;
    Some(next)
}

fn target(from: &Url, response: &Response) -> Option<Url> {
    let location = str::from_utf8(response.headers().get(LOCATION)?.as_bytes()).ok()?;
    let mut url = from.join(location).ok()?;
    // Schemes that have no user have no host either, and are refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(url)
}
