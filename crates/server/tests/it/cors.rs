//! What browsers are told.

use longshore_server::{Cors, Options};
use reqwest::{Method, StatusCode, header::HeaderMap};

use crate::server::TestServer;

async fn start() -> TestServer {
    let cors = Cors::new(vec!["https://ok.example".to_owned()], Some(r"https://.*\.team\.example"), None).unwrap();
    TestServer::with(Options { cors, ..Options::default() }, &["key-one"]).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn preflights_are_answered_without_a_key() {
    let server = start().await;
    for (origin, is_allowed) in [
        ("http://localhost:3000", true),
        ("http://127.0.0.1:5173", true),
        ("https://ok.example", true),
        ("https://a.team.example", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let request = server
            .request(Method::OPTIONS, "/api/tools/")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "X-Session-API-Key");
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        if is_allowed {
            assert_eq!((status, text.as_str()), (StatusCode::OK, "OK"), "{origin}");
            assert_eq!(header(&headers, "access-control-allow-origin"), Some(origin));
        } else {
            assert_eq!((status, text.as_str()), (StatusCode::BAD_REQUEST, "Disallowed CORS origin"), "{origin}");
            assert_eq!(header(&headers, "access-control-allow-origin"), None);
        }
        for (name, value) in [
            (
                "vary",
                "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
                 Access-Control-Request-Private-Network",
            ),
            ("access-control-allow-methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY"),
            ("access-control-max-age", "600"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "X-Session-API-Key"),
        ] {
            assert_eq!(header(&headers, name), Some(value), "{name} for {origin}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn answers_tell_which_page_may_read_them_errors_too() {
    let server = start().await;
    for (origin, allowed) in [
        (Some("https://ok.example"), Some("https://ok.example")),
        (Some("https://evil.example"), None),
        (Some("null"), None),
        (None, None),
    ] {
        for key in ["key-one", "bad"] {
            let mut request = server.get("/api/tools/").header("X-Session-API-Key", key);
            if let Some(origin) = origin {
                request = request.header("Origin", origin);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status().is_success(), key == "key-one");
            let headers = response.headers();
            assert_eq!(header(headers, "access-control-allow-origin"), allowed, "{origin:?}");
            assert_eq!(header(headers, "access-control-allow-credentials"), origin.map(|_| "true"));
            assert_eq!(header(headers, "vary"), Some("Origin"));
        }
    }
    server.stop().await;
}
