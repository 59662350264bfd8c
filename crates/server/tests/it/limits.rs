//! What happens at each limit of what comes from outside.

use std::sync::Arc;

use longshore_protocol::Secret;
use longshore_server::{Limits, Options, StaticKeys};
use reqwest::{Method, RequestBuilder, StatusCode, multipart::Form, multipart::Part};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    owners::AnnAndBob,
    server::{PATIENCE, Said, Setup, TestServer, answer, until},
};

const KEY: &str = "right";

fn with(limits: Limits) -> Options {
    Options { limits, trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()], ..Options::default() }
}

/// A server without keys.
async fn open(limits: Limits) -> TestServer {
    TestServer::with(with(limits), &[]).await
}

/// A server of Ann and Bob, behind a proxy on this machine.
async fn of_two(limits: Limits) -> TestServer {
    TestServer::of(Setup { options: with(limits), authenticator: Arc::new(AnnAndBob), ..Setup::default() }).await
}

/// Sends bytes and returns what comes back until the server ends the connection.
async fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut received)).await.expect("the server ends the connection");
    String::from_utf8_lossy(&received).into_owned()
}

/// Asks until something else than success comes, which must come with a time to wait.
async fn until_refused(mut ask: impl FnMut() -> RequestBuilder) -> Value {
    for _ in 0..1000 {
        let response = ask().send().await.unwrap();
        if response.status() != StatusCode::OK {
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            return response.json().await.unwrap();
        }
    }
    panic!("nothing is refused");
}

#[test]
fn the_documentation_has_the_table() {
    let page = include_str!("../../../../docs/limits.md");
    let table = Limits::markdown();
    assert!(page.contains(&table), "docs/limits.md must contain:\n{table}");
}

#[tokio::test]
async fn an_upload_that_is_too_large_leaves_the_file_as_it_was() {
    let server = open(Limits { upload_bytes: 5000, ..Limits::default() }).await;
    let upload = async |content: &'static [u8]| {
        let form = Form::new().part("file", Part::bytes(content).file_name("f"));
        answer(server.post(&format!("/api/file/upload?path={}", server.path("f"))).multipart(form)).await
    };
    assert_eq!(upload(b"small").await.0, StatusCode::OK);
    let (status, body) = upload(&[b'x'; 6000]).await;
    assert_eq!((status, body["detail"].as_str().unwrap().contains("5000")), (StatusCode::PAYLOAD_TOO_LARGE, true));
    assert_eq!(std::fs::read(server.path("f")).unwrap(), b"small");
    server.stop().await;
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_headers_and_address() {
    let limits = Limits { head_bytes: 8192, headers: 10, uri_bytes: 100, ..Limits::default() };
    let server = open(limits).await;
    let head = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n").into_bytes()
    };
    let status = async |head: Vec<u8>| exchange(&server, &head).await.get(9..12).map(str::to_owned);
    assert_eq!(status(head("/alive", &"X-A: b\r\n".repeat(8))).await.as_deref(), Some("200"));
    assert_eq!(status(head("/alive", &"X-A: b\r\n".repeat(9))).await.as_deref(), Some("431"));
    assert_eq!(status(head("/alive", &format!("X-A: {}\r\n", "b".repeat(7000)))).await.as_deref(), Some("200"));
    assert_eq!(status(head("/alive", &format!("X-A: {}\r\n", "b".repeat(9000)))).await.as_deref(), Some("431"));
    assert_eq!(status(head(&format!("/alive?{}", "x".repeat(93)), "")).await.as_deref(), Some("200"));
    assert_eq!(status(head(&format!("/alive?{}", "x".repeat(94)), "")).await.as_deref(), Some("414"));
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = open(Limits { head_seconds: 1, ..Limits::default() }).await;
    let received = exchange(&server, b"GET /alive HTTP/1.1\r\nHost: loc").await;
    assert!(!received.contains("200 OK"), "{received}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_refused() {
    let server = open(Limits { body_window_seconds: 1, body_window_bytes: 1000, ..Limits::default() }).await;
    for (path, kind) in [
        ("/api/conversations", "application/json"),
        ("/api/file/upload?path=/tmp/never", "multipart/form-data; boundary=x"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 5000\r\n\r\n--x"
        );
        let received = exchange(&server, head.as_bytes()).await;
        assert!(received.starts_with("HTTP/1.1 408 "), "{path}: {received}");
        assert!(received.contains("less than 1000 bytes in 1 seconds"), "{path}: {received}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_broken_off() {
    let server = open(Limits { request_seconds: 1, ..Limits::default() }).await;
    let wish = json!({"command": "sleep 50", "timeout": 60});
    let (status, body) = server.post_json("/api/bash/execute_bash_command", &wish).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{body}");
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_read_an_answer_loses_the_connection() {
    let server = open(Limits { stall_seconds: 1, connections: 1, ..Limits::default() }).await;
    std::fs::File::create(server.path("large")).unwrap().set_len(1 << 30).unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET /api/file/download?path={} HTTP/1.1\r\nHost: localhost\r\n\r\n", server.path("large"));
    stream.write_all(head.as_bytes()).await.unwrap();
    // The only place for connections is free again when the first is cut.
    assert_eq!(answer(server.get("/health")).await.0, StatusCode::OK);
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let limits = Limits { connections_per_address: 1, ..Limits::default() };
    let server = TestServer::with(Options { limits, ..Options::default() }, &[KEY]).await;
    let alive = b"GET /alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /alive HTTP/1.1\r\n").await.unwrap();
    let second = async {
        let mut stream = TcpStream::connect(server.address).await.ok()?;
        stream.write_all(alive).await.ok()?;
        let mut received = String::new();
        stream.read_to_string(&mut received).await.ok()?;
        received.contains("200 OK").then_some(())
    };
    assert_eq!(timeout(PATIENCE, second).await.unwrap(), None);
    drop(first);
    until(async || {
        let mut stream = TcpStream::connect(server.address).await.ok()?;
        stream.write_all(alive).await.ok()?;
        let mut received = String::new();
        stream.read_to_string(&mut received).await.ok()?;
        received.contains("200 OK").then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn sockets_of_one_user_are_bounded() {
    let server = of_two(Limits { sockets_per_user: 1, ..Limits::default() }).await;
    let path = |user: &str| format!("/sockets/bash-events?session_api_key={user}");
    let opens = async |user: &str| {
        let mut socket = server.socket(&path(user)).await;
        socket.send(r#"{"command": "true"}"#).await;
        match socket.next().await {
            Said::Json(_) => Some(socket),
            Said::Closed(code) => {
                assert_eq!(code, 1013);
                None
            }
        }
    };
    let first = opens("ann").await.expect("the first may be");
    assert!(opens("ann").await.is_none(), "the second may not");
    assert!(opens("bob").await.is_some(), "others are not counted with her");
    drop(first);
    until(|| opens("ann")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_socket() {
    let server = open(Limits { message_bytes: 1000, ..Limits::default() }).await;
    let mut socket = server.socket("/sockets/bash-events").await;
    socket.send(&"x".repeat(2000)).await;
    assert!(matches!(socket.next().await, Said::Closed(_)));
    server.stop().await;
}

#[tokio::test]
async fn reads_and_writes_of_a_user_are_counted_apart_and_delay_nobody_else() {
    let limits =
        Limits { reads_per_second: 1, reads_burst: 2, writes_per_second: 1, writes_burst: 2, ..Limits::default() };
    let server = of_two(limits).await;
    let get = |user: &'static str| server.get("/api/conversations/count").header("X-Session-API-Key", user);
    let refused = until_refused(|| get("ann")).await;
    assert_eq!(refused, json!({"detail": "Too many requests. Retry after the seconds in the header Retry-After."}));
    let write = || {
        let command = json!({"command": "true"});
        server.post("/api/bash/execute_bash_command").header("X-Session-API-Key", "ann").json(&command)
    };
    assert_eq!(answer(write()).await.0, StatusCode::OK, "writes have a count of their own");
    until_refused(write).await;
    assert_eq!(answer(get("bob")).await.0, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn requests_of_an_address_are_counted_whoever_sends_them() {
    let server =
        of_two(Limits { address_requests_per_second: 1, address_requests_burst: 2, ..Limits::default() }).await;
    let from = |address: &'static str| server.get("/alive").header("X-Forwarded-For", address);
    until_refused(|| from("2001:db8:0:1::1")).await;
    assert_eq!(answer(from("2001:db8:0:1::2")).await.0, StatusCode::TOO_MANY_REQUESTS, "the network is one");
    assert_eq!(answer(from("2001:db8:0:2::1")).await.0, StatusCode::OK);
    assert_eq!(
        answer(from("8.8.8.8, 2001:db8:0:1::1")).await.0,
        StatusCode::TOO_MANY_REQUESTS,
        "what it claims is not believed"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_is_on_the_machine_of_a_server_without_keys_is_not_counted() {
    let limits = Limits {
        reads_burst: 1,
        reads_per_second: 1,
        address_requests_per_second: 1,
        address_requests_burst: 1,
        connections_per_address: 1,
        ..Limits::default()
    };
    let server = open(limits).await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..20 {
        assert_eq!(answer(server.get("/api/conversations/count")).await.0, StatusCode::OK);
    }
    server.stop().await;
}

#[tokio::test]
async fn guessing_keys_ends_soon_and_locks_nobody_else_out() {
    let options = with(Limits { wrong_keys_per_minute: 3, ..Limits::default() });
    let authenticator = Arc::new(StaticKeys::new([KEY, "other"].map(Secret::new)));
    let server = TestServer::of(Setup { options, authenticator, ..Setup::default() }).await;
    let ask = async |address: &str, key: &str| {
        let request = server.get("/api/conversations/count").header("X-Forwarded-For", address);
        answer(request.header("X-Session-API-Key", key)).await.0.as_u16()
    };
    assert_eq!(ask("1.1.1.1", KEY).await, 200);
    assert_eq!(answer(server.get("/api/conversations/count").header("X-Forwarded-For", "1.1.1.1")).await.0, 401);
    for guess in ["a", "b", "c"] {
        assert_eq!(ask("1.1.1.1", guess).await, 401);
    }
    assert_eq!(ask("1.1.1.1", "d").await, 429);
    assert_eq!(ask("1.1.1.1", "other").await, 429, "a good guess is not told from a bad one");
    assert_eq!(ask("1.1.1.1", KEY).await, 200, "who was known before is let in");
    assert_eq!(ask("2.2.2.2", "other").await, 200);
    let socket = server.try_socket("/sockets/bash-events?session_api_key=e", &[("x-forwarded-for", "1.1.1.1")]).await;
    assert!(socket.err().unwrap().to_string().contains("429"));
    let mut socket = server.try_socket("/sockets/bash-events", &[("x-forwarded-for", "1.1.1.1")]).await.unwrap();
    socket.send(r#"{"type": "auth", "session_api_key": "other"}"#).await;
    assert_eq!(socket.next().await, Said::Closed(1013));
    server.stop().await;
}

#[tokio::test]
async fn a_server_answers_to_its_names_only() {
    let allowed_hosts = vec!["api.example".to_owned(), "*.team.example".to_owned()];
    let server = TestServer::with(Options { allowed_hosts, ..Options::default() }, &[KEY]).await;
    let status = async |host: &str, path: &str| {
        let request = server.request(Method::GET, path).header("Host", host).header("X-Session-API-Key", KEY);
        answer(request).await.0.as_u16()
    };
    for host in ["api.example", "API.example:8000", "a.team.example", "api.example."] {
        assert_eq!(status(host, "/api/conversations/count").await, 200, "{host}");
    }
    for host in ["evil.example", "team.example", "a.team.example.evil.example", "127.0.0.1", "xapi.example"] {
        assert_eq!(status(host, "/api/conversations/count").await, 403, "{host}");
        assert_eq!(status(host, "/health").await, 200, "probes call by any name");
    }
    server.stop().await;
}
