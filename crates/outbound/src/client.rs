//! The client.

use std::{sync::Arc, time::Duration};

use longshore_protocol::Secret;
use reqwest::{Proxy, Request, Response, header::AUTHORIZATION, redirect};
use tokio::time::Instant;

use crate::{
    Error, ErrorKind, Invalid, Policy, Resolver, SystemResolver,
    error::shown,
    names::Names,
    redirect::{MAX_REDIRECTS, next},
};

/// How long a connection may take to be made, the look-up of the name included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept that nobody uses, and how many of them to one host. One more is closed after its use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const MAX_IDLE: usize = 16;

/// How a client works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which addresses may be asked.
    pub policy: Policy,
    /// A proxy of http or https that all requests go through; its URL may hold a user and a password. The proxy looks names
    /// up then, so that the policy judges only names and the addresses in URLs, and the proxy has to judge the rest.
    pub proxy: Option<Secret>,
    /// How long a request may take until its whole answer is read, redirects included, if it has no limit of its own.
    pub timeout: Duration,
    /// Who looks names up.
    pub resolver: Arc<dyn Resolver>,
}

impl Options {
    /// One minute for each request, no proxy, and this machine's resolver.
    pub fn new(policy: Policy) -> Self {
        Self { policy, proxy: None, timeout: Duration::from_mins(1), resolver: Arc::new(SystemResolver::default()) }
    }
}

/// Asks addresses that users name. A clone shares connections and settings.
///
/// The variables of the environment that name proxies mean nothing to it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    policy: Arc<Policy>,
    timeout: Duration,
}

impl Client {
    /// A client with these options.
    ///
    /// # Errors
    /// The proxy is no URL of http or https; the message does not repeat it.
    pub fn new(options: Options) -> Result<Self, Invalid> {
        let Options { policy, proxy, timeout, resolver } = options;
        let policy = Arc::new(policy);
        let builder = reqwest::Client::builder()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .redirect(redirect::Policy::none())
            .no_proxy();
        let builder = match proxy {
            // The only name that is looked up is the proxy's.
            Some(proxy) => builder.proxy(parse_proxy(&proxy)?),
            None => builder.dns_resolver(Names::new(Arc::clone(&policy), resolver)),
        };
        let http = builder.build().map_err(|error| Invalid(format!("the HTTP client cannot be made: {error}")))?;
        Ok(Self { http, policy, timeout })
    }

    /// Sends a request and follows redirects, each judged as the first address was.
    ///
    /// [`Request::timeout`] counts until the whole answer is read; without it, [`Options::timeout`] does. A user and a
    /// password in the URL become an `Authorization` header. A redirect to another origin gets neither that nor any other
    /// header of the request but `Accept`, `Accept-Language`, `Content-Encoding` and `Content-Type`.
    ///
    /// # Errors
    /// The policy refuses the address, or there is no answer; an answer of any status is none. A body that is a stream is
    /// sent once: a redirect that asks for it again is returned as it is.
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let limit = request.timeout().copied().unwrap_or(self.timeout);
        let begun = Instant::now();
        let mut request = self.without_user(request)?;
        for _ in 0..=MAX_REDIRECTS {
            self.policy.check(request.url())?;
            *request.timeout_mut() = Some(limit.saturating_sub(begun.elapsed()));
            let again = request.try_clone();
            let response = self.http.execute(request).await?;
            match again.and_then(|sent| next(sent, &response)) {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        let message = format!("{} redirects more than {MAX_REDIRECTS} times", shown(request.url()));
        Err(Error::new(ErrorKind::TooManyRedirects, message))
    }

    /// Turns the user of the URL into a header.
    fn without_user(&self, mut request: Request) -> Result<Request, Error> {
        let url = request.url();
        if url.username().is_empty() && url.password().is_none() {
            return Ok(request);
        }
        let mut plain = self.http.request(request.method().clone(), url.clone()).build()?;
        if let Some(user) = plain.headers_mut().remove(AUTHORIZATION) {
            request.headers_mut().entry(AUTHORIZATION).or_insert(user);
        }
        *request.url_mut() = plain.url().clone();
        Ok(request)
    }
}

impl Default for Client {
    /// A client that asks [public addresses alone](Policy::closed).
    fn default() -> Self {
        Self::new(Options::new(Policy::closed())).expect("a client without a proxy can be made")
    }
}

/// Reads an answer of at most `limit` bytes.
///
/// # Errors
/// The answer is longer, breaks off, or takes too long.
pub async fn read_limited(mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > limit - body.len() {
            let message = format!("{} sent more than {limit} bytes", shown(response.url()));
            return Err(Error::new(ErrorKind::TooLong, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn parse_proxy(proxy: &Secret) -> Result<Proxy, Invalid> {
    let wrong = || Invalid("proxy is no URL of http or https: write http://HOST:PORT".to_owned());
    let url: reqwest::Url = proxy.expose().parse().map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    Proxy::all(url).map_err(|_| wrong())
}
