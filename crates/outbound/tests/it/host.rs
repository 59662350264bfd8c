//! A host that remembers what it was asked, and a resolver for names that do not exist.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header::LOCATION},
    response::{IntoResponse as _, Response},
};
use longshore_outbound::Resolver;
use tokio::{net::TcpListener, task::JoinHandle};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A host on a loopback address. It says its address; at `/STATUS/URL` it redirects; at `/bytes/N` it says that much; at
/// `/never` it never answers, and at `/drip` it never ends.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let app = Router::new().fallback(answer).with_state((address, Arc::clone(&seen)));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State((address, seen)): State<(SocketAddr, Arc<Mutex<Vec<Seen>>>)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let target = parts.uri.to_string();
    seen.lock().unwrap().push(Seen { method: parts.method, target, headers: parts.headers, body });
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // Each request comes over a connection of its own.
    let closing = [("connection", "close")];
    match path.trim_start_matches('/').split_once('/') {
        Some(("bytes", count)) => (closing, "x".repeat(count.parse().unwrap())).into_response(),
        Some((status, url)) if status.parse::<StatusCode>().is_ok() => {
            (status.parse::<StatusCode>().unwrap(), closing, [(LOCATION, url.to_owned())]).into_response()
        }
        _ if path == "/never" => std::future::pending().await,
        _ => (closing, address.to_string()).into_response(),
    }
}

/// Knows some names. Each look-up takes the next of a name's answers; the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>, Mutex<usize>);

impl Book {
    pub(crate) fn of(entries: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let entries =
            entries.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().map(parse).collect())).collect();
        Arc::new(Self(Mutex::new(entries), Mutex::default()))
    }

    /// How often it was asked.
    pub(crate) fn lookups(&self) -> usize {
        *self.1.lock().unwrap()
    }
}

#[async_trait]
impl Resolver for Book {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        *self.1.lock().unwrap() += 1;
        let mut entries = self.0.lock().unwrap();
        let answers = entries.get_mut(name).ok_or_else(|| io::Error::other("there is no such name"))?;
        Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() })
    }
}
