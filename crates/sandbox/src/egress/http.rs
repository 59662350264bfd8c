//! HTTP/1: tunnels by `CONNECT`, and requests with a whole URL.
//!
//! Both sides are parsed and written anew, so that what a host gets is what was judged. A connection to a host serves one
//! request; the program's stays open for the next, which may go elsewhere and is judged by itself.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::{Body as _, Incoming},
    client::conn::http1 as client,
    ext::ReasonPhrase,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
        UPGRADE,
    },
    http::uri::PathAndQuery,
    server::conn::http1 as server,
    service::service_fn,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_workspace::Stream;
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::{
    BUFFER,
    client::{Activity, Client},
    dial::Dialer,
    host::Target,
    refusal::Refusal,
    tunnel,
};

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

const USAGE: &str = "This is a proxy: it takes 'CONNECT host:port' and requests with a whole http:// URL. Programs do so when \
                     their variables HTTP_PROXY and HTTPS_PROXY have its address.";

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A program and a host that talk without the proxy once its answer is out.
struct Tunnel {
    near: OnUpgrade,
    far: Stream,
}

/// What the requests of one connection share.
struct Conversation<'a> {
    dialer: &'a Dialer,
    activity: Activity,
    tunnel: Mutex<Option<Tunnel>>,
}

/// Serves a program that speaks HTTP.
pub(super) async fn converse(dialer: &Dialer, client: Client) {
    let conversation = Conversation { dialer, activity: client.activity(), tunnel: Mutex::default() };
    let served = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(dialer.limits().header)
        .max_header_size(MAX_HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(client), service_fn(|request| conversation.answer(request)))
        .with_upgrades()
        .await;
    if let Err(cause) = served {
        tracing::debug!(%cause, "a box's connection to its proxy broke");
    }
    if let Some(Tunnel { near, far }) = conversation.tunnel.into_inner()
        && let Ok(near) = near.await
    {
        tunnel::carry(TokioIo::new(near), far).await;
    }
}

impl Conversation<'_> {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let answered = if request.method() == Method::CONNECT {
            self.connect(request).await
        } else {
            Box::pin(self.forward(request)).await
        };
        Ok(answered.unwrap_or_else(|refusal| refuse(&refusal)))
    }

    async fn connect(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let target = read_target(request.uri(), None)?;
        let upstream = self.dialer.dial(&target).await?;
        let tunnel = Tunnel { near: upgrade::on(&mut request), far: Box::new(upstream) };
        *self.tunnel.lock() = Some(tunnel);
        Ok(Response::new(empty()))
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if request.uri().scheme_str() != Some("http") {
            return Err(match request.uri().scheme_str() {
                Some(_) => Refusal::malformed("only http:// URLs can be fetched through a proxy as they are", USAGE),
                None => Refusal::malformed("the request has no URL with a host", USAGE),
            });
        }
        let target = read_target(request.uri(), Some(80))?;
        let upstream = self.dialer.dial(&target).await?;
        let near = wanted_upgrade(request.headers()).map(|protocol| (protocol, upgrade::on(&mut request)));
        rewrite_request(&mut request, &target, near.as_ref().map(|(protocol, _)| protocol.clone()));

        let handshake = client::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(upstream)).await;
        let (mut sender, connection) = handshake.map_err(|cause| Refusal::bad_answer(&target, cause))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades().in_current_span()));
        let response = tokio::select! {
            biased;
            response = sender.send_request(request) => response.map_err(|cause| Refusal::bad_answer(&target, cause))?,
            () = self.activity.idle(self.dialer.limits().idle) => return Err(Refusal::answer_timeout(&target)),
        };
        match (response.status(), near) {
            (StatusCode::SWITCHING_PROTOCOLS, Some((_, near))) => self.switch(&target, response, near).await,
            (StatusCode::SWITCHING_PROTOCOLS, None) => {
                Err(Refusal::bad_answer(&target, "it changed to another protocol without being asked"))
            }
            _ => Ok(pass_on(response, connection)),
        }
    }

    /// Lets both ends talk in another protocol, which is most often WebSocket.
    async fn switch(
        &self,
        target: &Target,
        mut response: Response<Incoming>,
        near: OnUpgrade,
    ) -> Result<Response<Body>, Refusal> {
        let protocol = response.headers().get(UPGRADE).cloned();
        let far = upgrade::on(&mut response).await.map_err(|cause| Refusal::bad_answer(target, cause))?;
        *self.tunnel.lock() = Some(Tunnel { near, far: Box::new(TokioIo::new(far)) });
        let mut response = response.map(|_| empty());
        remove_hop_by_hop(response.headers_mut());
        set_upgrade(response.headers_mut(), protocol);
        Ok(response)
    }
}

fn read_target(uri: &Uri, default_port: Option<u16>) -> Result<Target, Refusal> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Target::parse(authority, default_port)
        .map_err(|why| Refusal::malformed(format!("the host in the request {why}"), USAGE))
}

/// Makes a request to a proxy one to the host itself.
fn rewrite_request(request: &mut Request<Incoming>, target: &Target, protocol: Option<HeaderValue>) {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    let length = request.body().size_hint().exact();
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    set_upgrade(headers, protocol);
    // The body says how it is framed. Without a header, the client would send a GET without its body.
    if length.is_none() {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let host = target.to_string();
    let host = host.strip_suffix(":80").unwrap_or(&host);
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
}

/// Makes a host's response one of the proxy. The connection that its body comes from lives as long as the body.
fn pass_on(mut response: Response<Incoming>, connection: AbortOnDropHandle<hyper::Result<()>>) -> Response<Body> {
    *response.version_mut() = Version::HTTP_11;
    remove_hop_by_hop(response.headers_mut());
    if response.body().size_hint().exact().is_none() {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response.map(|body| {
        let body = body.map_frame(move |frame| {
            let _held = &connection;
            frame
        });
        body.boxed_unsync()
    })
}

/// Removes what is meant for the proxy and not for who is behind it (RFC 9110, 7.6.1), and what is about a proxy.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let proxy = headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned();
    let fixed = [CONNECTION, KEEP_ALIVE, TE, TRANSFER_ENCODING, UPGRADE];
    for name in proxy.chain(named).chain(fixed).collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// The protocol that a program wants to change to.
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut options =
        headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("upgrade")).then(|| headers.get(UPGRADE).cloned()).flatten()
}

fn set_upgrade(headers: &mut HeaderMap, protocol: Option<HeaderValue>) {
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Answers with a refusal. Its sentence is also the reason phrase, which is all that most programs show of a failed tunnel.
fn refuse(refusal: &Refusal) -> Response<Body> {
    let body = Full::new(Bytes::from(refusal.explanation())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = refusal.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let status = format!("longshore; error={}", refusal.proxy_error());
    if let Ok(status) = HeaderValue::try_from(status) {
        response.headers_mut().insert(PROXY_STATUS, status);
    }
    if let Ok(phrase) = ReasonPhrase::try_from(refusal.to_string()) {
        response.extensions_mut().insert(phrase);
    }
    response
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed_unsync()
}
