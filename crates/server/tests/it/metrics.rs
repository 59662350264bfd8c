//! What a server tells those who watch it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use longshore_protocol::Secret;
use longshore_server::{MetricsAccess, Options};
use longshore_testkit::{call, say};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;

use crate::server::{TestServer, answer, until};

/// The value of each sample, by its name and labels.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name, value.parse().unwrap())).collect()
}

async fn page(server: &TestServer) -> String {
    let response = server.get("/metrics").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.text().await.unwrap()
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// A server on which everything happened that is counted.
async fn busy() -> (TestServer, String) {
    let server = TestServer::start().await;
    server.provider().script("m", [call("terminal", json!({"command": "true"})), say("done")]);
    let wish = server.wish("m", json!({"initial_message": {"content": [{"type": "text", "text": "go"}]}}));
    let (_, info) = answer(server.post("/api/conversations").json(&wish)).await;
    let id = info["id"].as_str().unwrap().to_owned();
    until(|| async {
        let (_, info) = answer(server.get(&format!("/api/conversations/{id}"))).await;
        (info["execution_status"] == "finished").then_some(())
    })
    .await;
    (server, id)
}

#[tokio::test]
async fn requests_runs_and_model_calls_are_counted_without_ids() {
    let (server, id) = busy().await;
    assert_eq!(status(server.get("/no/such/thing")).await, 404);
    let page = page(&server).await;
    let samples = samples(&page);
    let of = |name: &str| samples.get(name).copied().unwrap_or_else(|| panic!("{name} is not in\n{page}"));
    assert!(
        (of(r#"longshore_http_requests_total{method="POST",route="/api/conversations",status="201"}"#) - 1.0).abs()
            < 0.1
    );
    assert!((of(r#"longshore_http_requests_total{method="GET",route="unmatched",status="404"}"#) - 1.0).abs() < 0.1);
    let route =
        r#"longshore_http_request_duration_seconds_count{method="GET",route="/api/conversations/{conversation_id}"}"#;
    assert!(of(route) >= 1.0);
    assert!((of("longshore_http_requests_in_flight") - 1.0).abs() < 0.1, "this request is the only one");
    assert!((of("longshore_runs_started_total") - 1.0).abs() < 0.1);
    assert!((of(r#"longshore_runs_ended_total{outcome="finished"}"#) - 1.0).abs() < 0.1);
    assert!(of("longshore_runs_active").abs() < 0.1);
    let calls: Vec<_> = samples.iter().filter(|(name, _)| name.starts_with("longshore_model_calls_total")).collect();
    assert!(matches!(&calls[..], [(name, calls)] if **calls > 1.9 && name.contains(r#"outcome="ok""#)), "{calls:?}");
    assert!(samples.iter().any(|(name, value)| name.starts_with("longshore_model_tokens_total") && *value > 0.0));
    assert!(of("longshore_store_writes_total") > 0.0 && of("longshore_disk_free_bytes") > 0.0);
    assert!(of("process_resident_memory_bytes") > 0.0 && of("process_open_fds") > 0.0);
    let writes = of(r#"longshore_store_write_duration_seconds_bucket{le="+Inf"}"#);
    assert!((writes - of("longshore_store_write_duration_seconds_count")).abs() < 0.1, "every write is in a class");
    assert!(!page.contains(&id) && !page.contains(&id.replace('-', "")), "no label holds an id");
    assert!(!page.contains("local\""), "no label holds a user");
    server.stop().await;
}

#[tokio::test]
async fn two_servers_of_one_process_count_apart() {
    let (one, other) = (TestServer::start().await, TestServer::start().await);
    for _ in 0..3 {
        assert_eq!(status(one.get("/alive")).await, 200);
    }
    let counted = r#"longshore_http_requests_total{method="GET",route="/alive",status="200"}"#;
    let (first, second) = (page(&one).await, page(&other).await);
    assert!((samples(&first)[counted] - 3.0).abs() < 0.1);
    assert!(!samples(&second).contains_key(counted));
}

#[tokio::test]
async fn open_sockets_are_counted_while_they_are_open() {
    let server = TestServer::start().await;
    let socket = server.socket("/sockets/bash-events").await;
    let open = async || samples(&page(&server).await)["longshore_sockets_open"];
    until(|| async { (open().await > 0.9).then_some(()) }).await;
    drop(socket);
    until(|| async { (open().await < 0.1).then_some(()) }).await;
}

#[tokio::test]
async fn only_those_who_may_read_the_metrics_do() {
    let access = MetricsAccess { token: Some(Secret::new("scraper")), public: false };
    let server = TestServer::with(Options { metrics: access, ..Options::default() }, &["key"]).await;
    assert_eq!(status(server.get("/metrics")).await, 200, "this machine");
    // Whoever comes through a proxy, or calls this machine by a name of their own, may be anybody.
    for (name, value) in [("X-Forwarded-For", "198.51.100.1"), ("Forwarded", "for=x"), ("Host", "evil.example")] {
        let far = || server.get("/metrics").header(name, value);
        assert_eq!(status(far()).await, 401, "{name}");
        assert_eq!(status(far().bearer_auth("wrong")).await, 401);
        assert_eq!(status(far().bearer_auth("scraper")).await, 200);
        assert_eq!(status(far().header("X-Session-API-Key", "key")).await, 200);
    }
    // The token opens nothing else.
    assert_eq!(status(server.get("/api/conversations/search").bearer_auth("scraper")).await, 401);
    let access = MetricsAccess { token: Some(Secret::new(" ")), public: true };
    let server = TestServer::with(Options { metrics: access, ..Options::default() }, &["key"]).await;
    assert_eq!(status(server.get("/metrics").header("X-Forwarded-For", "x")).await, 200);
}

#[tokio::test]
async fn health_tells_of_the_parts_and_fails_with_the_store() {
    let server = TestServer::start().await;
    let (code, health) = answer(server.get("/health")).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(
        (&health["status"], &health["store"], &health["docker"]),
        (&json!("ok"), &json!("ok"), &json!("unused"))
    );
    assert!(health["workspaces"].is_u64() && health["uptime"].is_u64());
    server.close_store().await;
    let health = until(|| async {
        let (code, health) = answer(server.get("/health")).await;
        (code == StatusCode::SERVICE_UNAVAILABLE).then_some(health)
    })
    .await;
    assert_eq!((&health["status"], &health["store"]), (&json!("down"), &json!("down")));
    assert_eq!(status(server.get("/alive")).await, 200, "the process lives");
}

/// Names of metrics in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let words = text.split(|byte| !is_part(byte));
    let is_name = |word: &&str| word.starts_with("longshore_") || word.starts_with("process_");
    words.filter(is_name).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A metric that others use and that only appears once it has something to tell.
const SELDOM: [&str; 2] = ["longshore_rate_limited_requests_total", "longshore_model_cost_dollars_total"];

#[tokio::test]
async fn rules_dashboard_and_documentation_speak_of_metrics_that_there_are() {
    let (server, _) = busy().await;
    let page = page(&server).await;
    let mut samples: BTreeSet<_> =
        samples(&page).keys().map(|name| name.split('{').next().unwrap().to_owned()).collect();
    samples.extend(SELDOM.map(str::to_owned));
    for path in ["deploy/prometheus/rules.yml", "deploy/prometheus/rules_test.yml", "deploy/grafana/longshore.json"] {
        for name in names_in(&read(path)) {
            assert!(samples.contains(&name), "{path} speaks of {name}, which is not there");
        }
    }
    let documented = read("docs/metrics.md");
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let help = page.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} "))).unwrap_or_default();
        assert!(help.len() > 10, "{name} has no help");
        let shown = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(documented.contains(&format!("| `{shown}`")), "{shown} has no row in docs/metrics.md");
    }
    for name in names_in(&documented) {
        let is_there = samples.iter().any(|sample| *sample == name || sample.strip_suffix("_count") == Some(&name));
        assert!(is_there, "docs/metrics.md speaks of {name}, which is not there");
    }
}
