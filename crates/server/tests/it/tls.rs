//! TLS.

use std::path::PathBuf;

use longshore_server::{Certificate, Limits, Options, Tls};
use reqwest::{Client, StatusCode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::server::{PATIENCE, TestServer, answer};

/// Files of a certificate.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Writes a new certificate and gives a client that trusts it alone.
    fn renew(&self) -> Client {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.key_pair.serialize_pem()).unwrap();
        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([root]).build().unwrap()
    }

    fn load(&self) -> Certificate {
        Certificate::load(self.certificate(), self.key()).unwrap()
    }
}

async fn serve(certificate: &Certificate, limits: Limits) -> TestServer {
    let tls = Some(Tls::with_certificate(certificate.clone()).unwrap());
    TestServer::with(Options { tls, limits, ..Options::default() }, &[]).await
}

fn url(server: &TestServer) -> String {
    format!("https://{}/health", server.address)
}

#[tokio::test]
async fn requests_and_sockets_come_through_tls() {
    let files = Files::new();
    let client = files.renew();
    let server = serve(&files.load(), Limits::default()).await;
    let response = client.get(url(&server)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.version(), reqwest::Version::HTTP_11);
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
    let upgrade = client
        .get(format!("https://{}/sockets/bash-events", server.address))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.send().await.unwrap().status(), StatusCode::SWITCHING_PROTOCOLS);
    server.stop().await;
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_so_and_who_says_nothing_is_cut() {
    let files = Files::new();
    files.renew();
    let server = serve(&files.load(), Limits { handshake_seconds: 1, ..Limits::default() }).await;
    let (status, body) = answer(server.get("/health")).await;
    assert_eq!((status, body["detail"].as_str().unwrap().contains("https://")), (StatusCode::BAD_REQUEST, true));
    for bytes in [&b""[..], b"\x16\x03\x01", b"\x00nonsense that is no TLS"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut received = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut received)).await.expect("the connection is cut");
        assert!(received.len() < 32, "{received:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_without_dropping_connections_and_a_bad_one_is_not() {
    let files = Files::new();
    let old = files.renew();
    let certificate = files.load();
    let server = serve(&certificate, Limits::default()).await;
    assert_eq!(old.get(url(&server)).send().await.unwrap().status(), StatusCode::OK);
    assert!(!certificate.reload().unwrap(), "nothing is new");

    let new = files.renew();
    assert!(certificate.reload().unwrap());
    assert_eq!(new.get(url(&server)).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(old.get(url(&server)).send().await.unwrap().status(), StatusCode::OK, "the old connection goes on");

    std::fs::write(files.key(), "no key").unwrap();
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem") && !error.contains("no key"), "{error}");
    assert!(!certificate.reload().unwrap(), "it is not tried again");
    let other = Files::new();
    other.renew();
    std::fs::copy(other.key(), files.key()).unwrap();
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("cannot be used"), "{error}");
    std::fs::remove_file(files.key()).unwrap();
    certificate.reload().unwrap_err();
    let again = new.get(url(&server)).header("Connection", "close").send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(new.get(url(&server)).send().await.unwrap().status(), StatusCode::OK, "a new connection, too");
    server.stop().await;
}
