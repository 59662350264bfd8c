//! What clients are told when something is wrong.

use longshore_server::{Limits, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{TestServer, answer};

const EXECUTE: &str = "/api/bash/execute_bash_command";

fn only(body: &Value) -> &Value {
    let problems = body["detail"].as_array().unwrap_or_else(|| panic!("{body}"));
    assert_eq!(problems.len(), 1, "{body}");
    &problems[0]
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_say_so_without_a_key() {
    let server = TestServer::with(Options::default(), &["key-one"]).await;
    for path in ["/nosuch", "/api/nosuch", "/api/bash", "/api/bash/"] {
        assert_eq!(answer(server.get(path)).await, (StatusCode::NOT_FOUND, json!({"detail": "Not Found"})), "{path}");
    }
    for (method, path) in [
        (Method::PUT, "/api/tools/"),
        (Method::GET, "/api/bash/bash_events"),
        (Method::GET, EXECUTE),
        (Method::POST, "/health"),
    ] {
        let expected = (StatusCode::METHOD_NOT_ALLOWED, json!({"detail": "Method Not Allowed"}));
        assert_eq!(answer(server.request(method, path)).await, expected, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_are_judged_field_by_field() {
    let server = TestServer::start().await;
    for (body, expected) in [
        ("{}", json!({"type": "missing", "loc": ["body", "command"], "msg": "Field required", "input": {}})),
        ("", json!({"type": "missing", "loc": ["body"], "msg": "Field required", "input": null})),
        (
            r#"{"command": 1}"#,
            json!({"type": "string_type", "loc": ["body", "command"], "msg": "Input should be a valid string", "input": 1}),
        ),
        (
            r#"{"command": "true", "timeout": 2.5}"#,
            json!({
                "type": "int_from_float", "loc": ["body", "timeout"], "input": 2.5,
                "msg": "Input should be a valid integer, got a number with a fractional part",
            }),
        ),
        (
            r#"{"command": "true", "timeout": -1}"#,
            json!({
                "type": "greater_than_equal", "loc": ["body", "timeout"], "input": -1, "ctx": {"ge": 0},
                "msg": "Input should be greater than or equal to 0",
            }),
        ),
        (
            "[]",
            json!({
                "type": "model_attributes_type", "loc": ["body"], "input": [],
                "msg": "Input should be a valid dictionary or object to extract fields from",
            }),
        ),
    ] {
        let (status, found) = answer(server.post(EXECUTE).body(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(only(&found), &expected, "{body}");
    }
    for (body, offset) in [("{bad", 1), ("{\"command\":\n \"a\",}", 17), ("{\"command\": \"a\"} x", 17)] {
        let (status, found) = answer(server.post(EXECUTE).body(body)).await;
        let problem = only(&found);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!((&problem["type"], &problem["loc"]), (&json!("json_invalid"), &json!(["body", offset])), "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn queries_and_paths_are_judged_too() {
    let server = TestServer::start().await;
    let search = "/api/bash/bash_events/search";
    for (method, path, kind, loc, input) in [
        (Method::GET, format!("{search}?limit=0"), "greater_than", json!(["query", "limit"]), json!("0")),
        (Method::GET, format!("{search}?limit=101"), "less_than_equal", json!(["query", "limit"]), json!("101")),
        (Method::GET, format!("{search}?limit=x"), "int_parsing", json!(["query", "limit"]), json!("x")),
        (
            Method::GET,
            format!("{search}?command_id__eq=x"),
            "uuid_parsing",
            json!(["query", "command_id__eq"]),
            json!("x"),
        ),
        (Method::GET, format!("{search}?sort_order=UP"), "literal_error", json!(["query", "sort_order"]), json!("UP")),
        (Method::GET, "/api/file/download".to_owned(), "missing", json!(["query", "path"]), Value::Null),
        (
            Method::GET,
            "/api/git/commits/zz--/changes?path=/".to_owned(),
            "string_pattern_mismatch",
            json!(["path", "sha"]),
            json!("zz--"),
        ),
    ] {
        let (status, body) = answer(server.request(method, &path)).await;
        let problem = only(&body);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(problem["type"], kind, "{path}");
        assert_eq!((&problem["loc"], &problem["input"]), (&loc, &input), "{path}");
    }
    server.stop().await;
}

/// W17: the official server crashes on a JSON body that is not labelled as JSON.
#[tokio::test]
async fn the_content_type_does_not_matter() {
    let server = TestServer::start().await;
    for kind in ["text/plain", "application/json", "application/octet-stream", "nonsense"] {
        let request = server.post(EXECUTE).header("Content-Type", kind);
        let (status, body) = answer(request.body(r#"{"command": "echo hi"}"#)).await;
        assert_eq!((status, &body["stdout"]), (StatusCode::OK, &json!("hi\n")), "{kind}");
        let (status, _) = answer(server.post(EXECUTE).header("Content-Type", kind).body(r#"{"a":1}"#)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{kind}");
        let (status, _) = answer(server.get("/api/tools/").header("Content-Type", kind)).await;
        assert_eq!(status, StatusCode::OK, "{kind}");
    }
    server.stop().await;
}

/// W21: the official server sends plain secrets back.
#[tokio::test]
async fn secrets_do_not_come_back() {
    let server = TestServer::start().await;
    for body in [
        json!({"secrets": {"NAME": "s3cr3t-value"}}),
        json!({"command": 1, "api_key": "s3cr3t-value"}),
        json!({"env": {"A": ["s3cr3t-value"]}}),
        json!([{"headers": {"X": "s3cr3t-value"}}]),
    ] {
        let (status, found) = answer(server.post(EXECUTE).json(&body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!found.to_string().contains("s3cr3t"), "{found}");
    }
    let (_, found) = answer(server.get("/api/bash/bash_events/search?limit=x&api_key=s3cr3t-value")).await;
    assert!(!found.to_string().contains("s3cr3t"), "{found}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let server = TestServer::with(
        Options { limits: Limits { body_bytes: 1000, ..Limits::default() }, ..Options::default() },
        &[],
    )
    .await;
    let body = json!({"command": "x".repeat(2000)}).to_string();
    let (status, answered) = answer(server.post(EXECUTE).body(body.clone())).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answered["detail"].as_str().unwrap().contains("1000 bytes"), "{answered}");
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
    let (status, _) = answer(server.post(EXECUTE).body(reqwest::Body::wrap_stream(pieces))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    server.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let server = TestServer::start().await;
    let id = |response: reqwest::Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let given = id(server.get("/nosuch").header("X-Request-Id", "trace-1.a_B").send().await.unwrap());
    assert_eq!(given, "trace-1.a_B");
    let first = id(server.get("/health").send().await.unwrap());
    let second = id(server.get("/health").header("X-Request-Id", "has spaces\tand tabs").send().await.unwrap());
    for made in [&first, &second] {
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    assert_ne!(first, second);
    server.stop().await;
}
