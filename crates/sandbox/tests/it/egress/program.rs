//! A box's proxy and its programs.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    process::Output,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use longshore_sandbox::egress::{Ledger, Limits, Networks, Policy, Proxy, Resolver};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    net::TcpListener,
};

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The names of a test's internet. An answer is given once if there is another one after it.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    pub(crate) fn set(&self, name: &str, answers: &[&[&str]]) {
        let addresses = |answer: &&[&str]| answer.iter().map(|address| address.parse().expect("an address")).collect();
        self.answers.lock().insert(name.to_owned(), answers.iter().map(addresses).collect());
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().push(name.to_owned());
        let mut answers = self.answers.lock();
        let answers = answers.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(answer.unwrap_or_default())
    }
}

/// What a proxy told.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) denied: Mutex<Vec<(String, u16, String)>>,
    pub(crate) connected: Mutex<Vec<(String, u16, SocketAddr)>>,
    pub(crate) closed: Mutex<Vec<(String, u16, u64, u64)>>,
}

impl Ledger for Book {
    fn denied(&self, host: &str, port: u16, reason: &str) {
        self.denied.lock().push((host.to_owned(), port, reason.to_owned()));
    }

    fn connected(&self, host: &str, port: u16, address: SocketAddr) {
        self.connected.lock().push((host.to_owned(), port, address));
    }

    fn closed(&self, host: &str, port: u16, up: u64, down: u64) {
        self.closed.lock().push((host.to_owned(), port, up, down));
    }
}

/// A box, as far as its way out is concerned.
pub(crate) struct Program {
    pub(crate) names: Arc<Names>,
    pub(crate) book: Arc<Book>,
    pub(crate) proxy: Arc<Proxy>,
}

impl Program {
    pub(crate) fn new(allowed_hosts: &[&str]) -> Self {
        Self::with(allowed_hosts, &[], Limits::default())
    }

    pub(crate) fn with(allowed_hosts: &[&str], private_allowed: &[&str], limits: Limits) -> Self {
        let owned = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
        let networks = Networks::parse(&owned(private_allowed)).expect("networks");
        let policy = Policy::parse(&owned(allowed_hosts)).expect("a policy").with_private(networks);
        let (names, book) = (Arc::<Names>::default(), Arc::<Book>::default());
        let proxy = Arc::new(Proxy::new(policy, names.clone(), book.clone(), limits));
        Self { names, book, proxy }
    }

    /// Opens a connection to the proxy.
    pub(crate) fn open(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let proxy = self.proxy.clone();
        tokio::spawn(async move { proxy.serve(far).await });
        near
    }

    /// Opens the proxy's port on this machine's loopback, as it is in a box.
    pub(crate) async fn port(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let proxy = self.proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = proxy.clone();
                tokio::spawn(async move { proxy.serve(stream).await });
            }
        });
        address
    }

    /// Sends one request and returns the whole answer.
    pub(crate) async fn ask(&self, request: &str) -> String {
        let mut stream = self.open();
        stream.write_all(request.as_bytes()).await.expect("a listener");
        head(&mut stream).await
    }

    /// Asks for a tunnel and returns the status.
    pub(crate) async fn connect(&self, target: &str) -> u16 {
        let answer = self.ask(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// Opens a tunnel, which must be allowed.
    pub(crate) async fn tunnel(&self, target: &str) -> DuplexStream {
        let mut stream = self.open();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a listener");
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        stream
    }

    pub(crate) fn denied(&self) -> Vec<(String, u16, String)> {
        self.book.denied.lock().clone()
    }
}

/// Reads the head of an HTTP message, and the body if it has a length.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let read = async {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => text.push(byte),
                Err(_) => return String::from_utf8(text).expect("text"),
            }
        }
        let head = String::from_utf8(text).expect("text");
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.expect("a body");
        head + str::from_utf8(&body).expect("text")
    };
    tokio::time::timeout(DEADLINE, read).await.expect("an answer in time")
}

/// Waits for the end of a stream and returns what came before.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An end that is no clean one is an end too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
    bytes
}

/// Sends bytes and ends that direction.
pub(crate) async fn send_all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.expect("a listener");
    stream.shutdown().await.expect("a listener");
}

/// Runs curl on this machine.
pub(crate) async fn curl(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-q", "-sS", "--max-time", "30"]).args(arguments).kill_on_drop(true);
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    command.output().await.expect("the program 'curl'")
}

/// What curl printed, which must have succeeded.
pub(crate) async fn curl_text(arguments: &[&str]) -> String {
    let output = curl(arguments).await;
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}
