//! What the server says of itself.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::json;

use crate::server::{TestServer, answer, until};

#[tokio::test]
async fn probes_and_info() {
    let server = TestServer::start().await;
    for (path, body) in [("/alive", json!({"status": "ok"})), ("/ready", json!({"status": "ready"}))] {
        assert_eq!(answer(server.get(path)).await, (StatusCode::OK, body));
    }
    let (_, info) = answer(server.get("/server_info")).await;
    let keys: Vec<_> = info.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "uptime",
            "idle_time",
            "title",
            "version",
            "sdk_version",
            "tools_version",
            "workspace_version",
            "build_git_sha",
            "build_git_ref",
            "python_version",
            "usable_tools",
            "runtime_idle_timeout_seconds",
            "conversation_runtime",
            "available_conversation_runtimes",
            "capabilities",
            "app_backend_ingress_url",
            "max_foreground_terminal_timeout_seconds",
            "docs",
            "redoc",
        ]
    );
    assert_eq!(info["version"], "1.58.2");
    assert_eq!(info["usable_tools"], answer(server.get("/api/tools")).await.1);
    let (_, catalog) = answer(server.get("/api/tools/catalog")).await;
    assert_eq!(catalog["tools"][0]["name"], info["usable_tools"][0]);
    server.stop().await;
}

#[tokio::test]
async fn a_server_is_idle_until_it_is_used() {
    let server = TestServer::start().await;
    let idle = async || answer(server.get("/server_info")).await.1["idle_time"].as_f64().unwrap();
    let is_idle = async || (idle().await >= 1.0).then_some(());
    until(is_idle).await;
    answer(server.get("/api/tools/")).await;
    answer(server.get("/api/bash/bash_events/search")).await;
    assert!(idle().await >= 1.0, "looking is no use");
    for path in ["/api/git/changes?path=/", "/api/file/home", "/api/file/download?path=/nosuch"] {
        answer(server.get(path)).await;
        assert!(idle().await < 1.0, "{path}");
        until(is_idle).await;
    }
    let (_, command) = answer(server.post("/api/bash/start_bash_command").json(&json!({"command": "sleep 30"}))).await;
    assert!(idle().await < 1.0);
    // A command that runs uses the server all the time.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(idle().await < 1.0);
    let id = command["id"].as_str().unwrap();
    answer(server.post(&format!("/api/bash/bash_commands/{id}/stop"))).await;
    server.stop().await;
}

#[tokio::test]
async fn the_document_describes_the_routes_and_the_page_shows_it() {
    let server = TestServer::start().await;
    let (_, document) = answer(server.get("/openapi.json")).await;
    assert_eq!(document["openapi"], "3.1.0");
    let execute = &document["paths"]["/api/bash/execute_bash_command"]["post"];
    assert_eq!(
        execute["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/ExecuteBash"
    );
    for status in ["200", "401", "422", "429"] {
        assert!(execute["responses"][status].is_object(), "{status}: {execute}");
    }
    let text = document.to_string();
    let schemas = &document["components"]["schemas"];
    let named = text.split("#/components/schemas/").skip(1).filter_map(|reference| reference.split('"').next());
    let not_described: BTreeSet<_> = named.filter(|name| !schemas[name].is_object()).collect();
    assert_eq!(not_described, BTreeSet::new(), "named but not described");
    for path in ["/docs", "/redoc"] {
        let response = server.get(path).send().await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        let page = response.text().await.unwrap();
        assert!(page.contains("openapi.json") && !page.contains("https://"), "the page must not load from elsewhere");
    }
    server.stop().await;
}
