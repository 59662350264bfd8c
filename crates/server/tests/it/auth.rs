//! Who may ask, and that nobody else gets anything read.

use longshore_server::Options;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{TestServer, answer};

const ROUTES: [(Method, &str); 14] = [
    (Method::GET, "/api/tools"),
    (Method::GET, "/api/tools/"),
    (Method::GET, "/api/tools/catalog"),
    (Method::GET, "/api/bash/bash_events/search"),
    (Method::GET, "/api/bash/bash_events/x"),
    (Method::POST, "/api/bash/start_bash_command"),
    (Method::POST, "/api/bash/execute_bash_command"),
    (Method::DELETE, "/api/bash/bash_events"),
    (Method::POST, "/api/file/upload?path=/x"),
    (Method::GET, "/api/file/download?path=/etc/passwd"),
    (Method::GET, "/api/file/home"),
    (Method::GET, "/api/git/changes?path=/"),
    (Method::GET, "/api/git/diff?path=/"),
    (Method::GET, "/api/git/commits?path=/"),
];

#[tokio::test]
async fn any_configured_key_is_accepted_in_either_header_and_nothing_else_is() {
    let server = TestServer::with(Options::default(), &["key-one", "key-two", ""]).await;
    let path = "/api/tools/";
    for (header, value, status) in [
        ("X-Session-API-Key", "key-one", StatusCode::OK),
        ("X-Session-API-Key", "key-two", StatusCode::OK),
        ("Authorization", "Bearer key-one", StatusCode::OK),
        ("Authorization", "bearer key-two", StatusCode::OK),
        ("X-Session-API-Key", "bad", StatusCode::UNAUTHORIZED),
        ("X-Session-API-Key", "", StatusCode::UNAUTHORIZED),
        ("X-Session-API-Key", "key-one ", StatusCode::OK),
        ("X-Session-API-Key", "key-on", StatusCode::UNAUTHORIZED),
        ("Authorization", "Basic key-one", StatusCode::UNAUTHORIZED),
        ("Authorization", "Bearer bad", StatusCode::UNAUTHORIZED),
        ("Cookie", "oh_workspace_session_key=key-one", StatusCode::UNAUTHORIZED),
    ] {
        let (found, _) = answer(server.get(path).header(header, value)).await;
        assert_eq!(found, status, "{header}: {value}");
    }
    let (status, _) = answer(server.get("/api/tools/?session_api_key=key-one")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    server.stop().await;
}

#[tokio::test]
async fn no_route_below_api_answers_without_a_key() {
    let server = TestServer::with(Options::default(), &["key-one"]).await;
    for (method, path) in ROUTES {
        let (status, body) = answer(server.request(method.clone(), path).body("{not json")).await;
        assert_eq!((status, body), (StatusCode::UNAUTHORIZED, json!({"detail": "Unauthorized"})), "{method} {path}");
    }
    for path in ["/health", "/alive", "/ready", "/server_info", "/", "/docs", "/redoc", "/openapi.json"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_documented_api_route_needs_a_key() {
    let server = TestServer::with(Options::default(), &["key-one"]).await;
    let (_, document) = answer(server.get("/openapi.json")).await;
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if path.starts_with("/api/") {
                let path = path.replace(['{', '}'], "");
                assert_eq!(answer(server.request(method, &path)).await.0, StatusCode::UNAUTHORIZED, "{path}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 18, "only {seen} operations");
    server.stop().await;
}

#[tokio::test]
async fn the_body_is_not_read_without_a_key() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::with(Options::default(), &["key-one"]).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = "POST /api/bash/execute_bash_command HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Nothing of the body is ever sent, and the answer comes all the same.
    let mut answer = [0; 32];
    let read = tokio::time::timeout(crate::server::PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 401"), "{:?}", String::from_utf8_lossy(&answer));
    server.stop().await;
}

#[tokio::test]
async fn a_server_without_keys_answers_only_under_its_own_names_and_to_its_own_pages() {
    let server = TestServer::start().await;
    let port = server.address.port();
    for (host, status) in [
        (format!("localhost:{port}"), StatusCode::OK),
        (format!("127.0.0.1:{port}"), StatusCode::OK),
        ("[::1]:80".to_owned(), StatusCode::OK),
        ("agent.localhost".to_owned(), StatusCode::OK),
        ("evil.example".to_owned(), StatusCode::FORBIDDEN),
        (format!("127.0.0.1.evil.example:{port}"), StatusCode::FORBIDDEN),
        ("10.0.0.1".to_owned(), StatusCode::FORBIDDEN),
    ] {
        assert_eq!(answer(server.get("/api/tools/").header("Host", &host)).await.0, status, "{host}");
        assert_eq!(answer(server.get("/health").header("Host", &host)).await.0, StatusCode::OK, "{host}");
    }
    for (origin, status) in [
        ("http://localhost:3000", StatusCode::OK),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let request = server.post("/api/bash/execute_bash_command").header("Origin", origin);
        // What a page can send without asking first.
        let request = request.header("Content-Type", "text/plain").body(r#"{"command": "true"}"#);
        assert_eq!(answer(request).await.0, status, "{origin}");
    }
    let refused = server.try_socket("/sockets/bash-events", &[("Origin", "https://evil.example")]).await;
    assert!(refused.err().unwrap().to_string().contains("403"));
    server.stop().await;

    let open = TestServer::with(Options { any_host: true, ..Options::default() }, &[]).await;
    assert_eq!(answer(open.get("/api/tools/").header("Host", "evil.example")).await.0, StatusCode::OK);
    open.stop().await;
    let keyed = TestServer::with(Options::default(), &["key-one"]).await;
    let request = keyed.get("/api/tools/").header("Host", "agents.example").header("X-Session-API-Key", "key-one");
    assert_eq!(answer(request).await.0, StatusCode::OK);
    keyed.stop().await;
}
