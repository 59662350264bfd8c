//! Requests that no decent client sends. The server answers or hangs up, and goes on for the others.

use std::{fmt::Write as _, io, sync::Mutex};

use longshore_server::Options;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    agents::is_state,
    server::{PATIENCE, Said, TestServer, answer, until},
};

const EXECUTE: &str = "/api/bash/execute_bash_command";
const NOBODY: &str = "/api/conversations/99999999-2222-3333-4444-555555555555";

/// Sends bytes and returns all that comes back until the server hangs up. What it does not take is not sent.
async fn send(server: &TestServer, bytes: &[u8]) -> String {
    let (mut input, mut output) = TcpStream::connect(server.address).await.unwrap().into_split();
    let send = async {
        let _ = output.write_all(bytes).await;
        // Kept open: the server decides when it is over.
        output
    };
    let read = async {
        let mut received = Vec::new();
        let _ = input.read_to_end(&mut received).await;
        received
    };
    let both = async { tokio::join!(send, read).1 };
    String::from_utf8_lossy(&timeout(PATIENCE, both).await.expect("the server hangs up")).into_owned()
}

/// A request in figures, after which the connection is over.
fn request(head: &str) -> String {
    format!("{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
}

async fn assert_well(server: &TestServer) {
    assert_eq!(answer(server.get("/health")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn bodies_that_are_no_sensible_json_are_refused_everywhere() {
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({})).await;
    let digits = "9".repeat(100_000);
    let bodies: [Vec<u8>; 17] = [
        "[".repeat(10_000).into(),
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)).into(),
        format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000)).into(),
        format!(r#"{{"command": {digits}}}"#).into(),
        br#"{"command": 1e999999}"#.into(),
        br#"{"command": "true", "timeout": 18446744073709551616}"#.into(),
        b"{\"command\": \"\xff\xfe\"}".into(),
        b"\xff".into(),
        b"{\"command\": \"a\0b\"}".into(),
        br#"{"command": "\ud800"}"#.into(),
        b"\xef\xbb\xbf{}".into(),
        b"NaN".into(),
        b"{'command': 'true'}".into(),
        b"\0".into(),
        b" \n\t ".into(),
        b"null".into(),
        b"{\"command\"".into(),
    ];
    for body in bodies {
        for (method, path) in [
            (Method::POST, EXECUTE.to_owned()),
            (Method::POST, "/api/conversations".to_owned()),
            (Method::POST, format!("{conversation}/confirmation_policy")),
            (Method::POST, format!("{conversation}/secrets")),
        ] {
            let (status, answer) = answer(server.request(method, &path).body(body.clone())).await;
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {start}: {answer}");
            assert!(answer["detail"][0]["msg"].is_string(), "{path} {start}: {answer}");
            assert!(answer.to_string().len() < 10_000 + body.len(), "{path} {start}");
        }
    }
    // A zero byte can stand in JSON, but in no command and no path.
    for body in [json!({"command": "echo \0"}), json!({"command": "true", "cwd": "/tmp\0"})] {
        let (status, answer) = server.post_json(EXECUTE, &body).await;
        assert!(!status.is_server_error(), "{answer}");
    }
    let (status, _) = server.post_json(EXECUTE, &json!({"command": "true", "timeout": u64::MAX})).await;
    assert_eq!(status, StatusCode::OK);
    assert_well(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn names_that_come_twice_have_one_meaning() {
    let server = TestServer::start().await;
    let twice = r#"{"command": "echo one", "command": "echo two"}"#;
    let (status, body) = answer(server.post(EXECUTE).body(twice)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert_eq!(body["detail"][0]["loc"][0], "body");
    let conversation = server.create("m", json!({})).await;
    let secrets = r#"{"secrets": {"A": "s3cr3t-one", "A": "s3cr3t-two"}, "secrets": {"A": ["s3cr3t-three"]}}"#;
    let (status, body) = answer(server.post(&format!("{conversation}/secrets")).body(secrets)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert!(!body.to_string().contains("s3cr3t"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_not_taken() {
    let server = TestServer::start().await;
    for path in [EXECUTE.to_owned(), "/api/conversations".to_owned(), format!("{NOBODY}/events")] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", (32 << 20) + 1);
        let answer = send(&server, head.as_bytes()).await;
        assert_eq!(status(&answer), 413, "{path}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        // Without an announcement it is taken up to the limit and no further.
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut bytes = head.into_bytes();
        let chunk = [&b"100000\r\n"[..], &vec![b'['; 1 << 20], b"\r\n"].concat();
        for _ in 0..40 {
            bytes.extend_from_slice(&chunk);
        }
        let answer = send(&server, &bytes).await;
        // The answer is lost if the rest of the body arrives after the server hung up.
        assert!(matches!(status(&answer), 413 | 0), "{path}: {answer}");
    }
    assert_well(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn requests_cannot_be_smuggled_in_bodies() {
    let server = TestServer::start().await;
    let inner = "GET /alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for lengths in [
        format!("Content-Length: 5\r\nContent-Length: {}\r\n", inner.len()),
        format!("Content-Length: 5, {}\r\n", inner.len()),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: 0x5\r\n".to_owned(),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
        "Transfer-Encoding: gzip\r\n".to_owned(),
        "Transfer-Encoding: chunked, gzip\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
    ] {
        let bytes = format!("POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n{inner}");
        let answer = send(&server, bytes.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{lengths}: {answer}");
        assert!(!answer.contains("\"ok\""), "{lengths}: {answer}");
    }
    // Both kinds of length: the chunks count, and the request behind them is one of its own.
    let bytes = format!(
        "POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
    );
    let answer = send(&server, bytes.as_bytes()).await;
    assert!(matches!(status(&answer), 400 | 422), "{answer}");
    for chunk in ["xyz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "5\r\nhello\r\r\n"] {
        let bytes = format!("POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        let answer = send(&server, bytes.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{chunk:?}: {answer}");
    }
    assert_well(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn heads_beyond_measure_are_refused() {
    let server = TestServer::start().await;
    let mut many = "GET /alive HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for number in 0..10_000 {
        let _ = write!(many, "X-Header-{number}: x\r\n");
    }
    let long = format!("GET /alive HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(2 << 20));
    let path = request(&format!("GET /{}", "x".repeat(2 << 20)));
    for head in [many + "\r\n", long, path] {
        let answer = send(&server, head.as_bytes()).await;
        // The answer is lost if the rest arrives after the server hung up.
        assert!(matches!(status(&answer), 400 | 414 | 431 | 0), "{answer}");
    }
    for head in [
        "",
        "\r\n\r\n\r\n\r\nx",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "GET /\0 HTTP/1.1\r\n\r\n",
    ] {
        if !head.is_empty() {
            let answer = send(&server, format!("{head}\r\n\r\n").as_bytes()).await;
            assert!(matches!(status(&answer), 400 | 0), "{head:?}: {answer}");
        }
    }
    let folded = "GET /alive HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\r\n b\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&send(&server, folded.as_bytes()).await), 400);
    assert_well(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_past_the_key() {
    let server = TestServer::with(Options::default(), &["key-one"]).await;
    for path in [
        "/api/tools/",
        "//api/tools/",
        "/api//tools/",
        "/./api/tools/",
        "/health/../api/tools/",
        "/health/..%2fapi/tools/",
        "/health/%2e%2e/api/tools/",
        "/docs/..;/api/tools/",
        "/API/tools/",
        "/api/tools%2f",
        "/%61pi/tools/",
        "/api/tools/%00",
        "/api/tools/?session_api_key=key-one",
        "/api/tools/#",
        "http://localhost/api/tools/",
        "/api/conversations/..%2f..%2fhealth",
        "/api/conversations/search/",
        "/openapi.json/../api/tools/",
        "\\api\\tools\\",
    ] {
        for head in [format!("GET {path}"), format!("POST {path}")] {
            let answer = send(&server, request(&head).as_bytes()).await;
            assert!(matches!(status(&answer), 400 | 401 | 403 | 404 | 405), "{head}: {answer}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn methods_and_versions_of_all_kinds_are_answered() {
    let server = TestServer::start().await;
    for (head, expected) in [
        ("HEAD /health", 200),
        ("TRACE /health", 405),
        ("BREW /health", 405),
        ("OPTIONS /health", 405),
        ("PROPFIND /api/conversations", 405),
        ("PUT /api/conversations", 405),
        ("DELETE /api/conversations", 405),
        ("OPTIONS *", 404),
    ] {
        let answer = send(&server, request(head).as_bytes()).await;
        assert_eq!(status(&answer), expected, "{head}: {answer}");
    }
    // A proxy that clients could use for other addresses is what the server is not.
    let answer =
        send(&server, b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(matches!(status(&answer), 400 | 403 | 404 | 405), "{answer}");
    let answer = send(&server, request("GET http://example.com/nosuch").as_bytes()).await;
    assert_eq!(status(&answer), 404, "{answer}");

    let answer = send(&server, b"GET /alive HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
    // Who does not say which host is meant gets nothing that a page in a browser could be after.
    assert_eq!(status(&send(&server, b"GET /api/tools/ HTTP/1.0\r\n\r\n").await), 403);
    assert_eq!(status(&send(&server, b"GET /api/tools/ HTTP/1.0\r\nHost: localhost\r\n\r\n").await), 200);

    let piped = "GET /alive HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3) + &request("GET /ready");
    let answers = send(&server, piped.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4);
    assert!(answers.ends_with(r#"{"status":"ready"}"#), "{answers}");
    server.stop().await;
}

#[tokio::test]
async fn an_id_of_a_request_is_plain_or_new() {
    let server = TestServer::start().await;
    for given in ["a%0d%0aSet-Cookie: x=y", "a b", "a\tb", "é", "<script>", "\"", &"x".repeat(129), ""] {
        let head =
            format!("GET /alive HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {given}\r\nConnection: close\r\n\r\n");
        let answer = send(&server, head.as_bytes()).await;
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{given:?}: {id}");
        assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn ids_are_read_in_every_form_and_nothing_else_is() {
    let server = TestServer::start().await;
    let id = "abcdefab-1111-2222-3333-444444444444";
    let conversation = server.create("m", json!({"conversation_id": id})).await;
    assert_eq!(conversation, format!("/api/conversations/{id}"));
    for form in [
        id.to_uppercase(),
        id.replace('-', ""),
        id.replace('-', "").to_uppercase(),
        format!("%7B{id}%7D"),
        format!("urn:uuid:{id}"),
        format!("%61{}", &id[1..]),
    ] {
        assert_eq!(server.look(&format!("/api/conversations/{form}")).await["id"], id, "{form}");
    }
    for form in [
        &id[1..],
        &format!("{id}0"),
        &format!("{id}%00"),
        &format!("%20{id}"),
        &format!("{id}%0a"),
        "..%2fsearch",
        "%ff",
        "-",
        "' OR 1=1 --",
    ] {
        let (status, body) = answer(server.get(&format!("/api/conversations/{form}"))).await;
        assert!(matches!(status.as_u16(), 404 | 422), "{form}: {status} {body}");
    }
    for id in ["%00", "..%2f..%2fetc%2fpasswd", "%ff", &"x".repeat(10_000), "' OR 1=1 --"] {
        for path in [format!("{conversation}/events/{id}"), format!("/api/bash/bash_events/{id}")] {
            let (status, body) = answer(server.get(&path)).await;
            assert!(matches!(status.as_u16(), 404 | 422), "{path}: {status} {body}");
        }
        let page = server.look(&format!("{conversation}/events/search?page_id={}", id.replace("%ff", "x"))).await;
        assert_eq!(page["next_page_id"], Value::Null);
    }
    server.stop().await;
}

/// The log of all that this process does, as the operator reads it, from the moment it is wanted.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_no_keys_and_no_secrets() {
    let subscriber = tracing_subscriber::fmt().with_env_filter("longshore=trace").with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.with_writer(|| Log).finish()).unwrap();
    let server = TestServer::with(Options::default(), &["hush-key"]).await;
    let wish = server.wish("m", json!({
        "secrets": {"NAME": "hush-value"}, "agent": {"llm": {"api_key": "hush-llm"}}, "conversation_id": NOBODY[19..],
    }));
    let keyed = |request: reqwest::RequestBuilder| request.header("X-Session-API-Key", "hush-key");
    let (status, _) = answer(keyed(server.post("/api/conversations")).json(&wish)).await;
    assert_eq!(status, StatusCode::CREATED);
    server.provider().script("m", [longshore_testkit::call("terminal", json!({"command": "echo $NAME"}))]);
    answer(keyed(server.post(&format!("{NOBODY}/events"))).json(&crate::agents::message("go"))).await;
    let failed = async || {
        let info = answer(keyed(server.get(NOBODY))).await.1;
        (info["execution_status"] == "error").then_some(())
    };
    until(failed).await;
    for path in ["/api/tools/", "/nosuch", NOBODY, "/api/conversations/search"] {
        answer(server.get(&format!("{path}?session_api_key=hush-key"))).await;
        answer(server.get(path).header("Authorization", "Bearer hush-wrong")).await;
    }
    answer(keyed(server.post(&format!("{NOBODY}/secrets"))).body(r#"{"secrets": {"N": ["hush-bad"]}}"#)).await;
    let mut socket = server.socket(&format!("/sockets/events/{}?session_api_key=hush-key", &NOBODY[19..])).await;
    assert!(is_state(&socket.next().await.json()));
    let _ = server.try_socket("/sockets/bash-events?session_api_key=hush-wrong", &[]).await;
    let mut socket = server.socket("/sockets/bash-events").await;
    socket.send(r#"{"type": "auth", "session_api_key": "hush-wrong"}"#).await;
    assert_eq!(socket.next().await, Said::Closed(4001));
    server.stop().await;
    let log = String::from_utf8(std::mem::take(&mut *LOG.lock().unwrap())).unwrap();
    assert!(log.contains("http.path=\"/api/tools/\""), "{log}");
    let told: Vec<_> = log.lines().filter(|line| line.contains("hush-")).collect();
    assert!(told.is_empty(), "{told:#?}");
}
