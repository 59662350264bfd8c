//! All routes of the native API, as the document has them: what a wrong key, a foreign id and too small a scope get.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{World, id};

/// Stands in everything that Ann has and in nothing that Bob says.
const MARK: &str = "annmark";

#[tokio::test]
async fn no_route_gives_one_user_anything_of_another() {
    let world = World::start().await;
    let workspace = world.workspace("ann", MARK).await;
    let conversation = world.conversation("ann", MARK, json!({"workspace_id": id(&workspace)})).await;
    let bound = format!("ann@{}", id(&world.workspace("ann", "other").await));
    let document: Value = serde_json::from_slice(&longshore_server::Server::openapi()).unwrap();
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/workspaces") && !path.starts_with("/conversations") {
            continue;
        }
        let named = path
            .replace("{workspace_id}", id(&workspace))
            .replace("{conversation_id}", id(&conversation))
            .replace("{path}", "file");
        for name in item.as_object().unwrap().keys() {
            walked += 1;
            let method: Method = name.to_uppercase().parse().unwrap();
            // Right for every route that takes a body, so that nothing else is refused.
            let body = match path.rsplit('/').next().unwrap() {
                _ if method == Method::GET || method == Method::DELETE => Value::Null,
                "execute" => json!({"command": "true"}),
                "messages" => json!({"message": "x"}),
                "{workspace_id}" => json!({"resource_limits": {}}),
                _ => json!({}),
            };
            let (status, answer) = world.ask("eve", method.clone(), &named, body.clone()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {answer}");
            let (status, answer) = world.ask("bob", method.clone(), &named, body.clone()).await;
            if path.contains('{') {
                assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
            }
            // What Bob asked for comes back with its id; nothing else of Ann's does.
            assert!(!answer.to_string().contains(MARK), "{method} {path}: {answer}");
            if path.contains('{') {
                let (status, answer) = world.ask(&bound, method.clone(), &named, body.clone()).await;
                assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path} with a bound key: {answer}");
            }
            let too_little = if method.is_safe() { "ann:write" } else { "ann:read" };
            let (status, answer) = world.ask(too_little, method.clone(), &named, body).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} as {too_little}: {answer}");
        }
    }
    assert!(walked >= 21, "only {walked} operations");
    assert_eq!(world.get("ann:read", &workspace).await.0, StatusCode::OK);
    assert_eq!(world.get("ann:read", &conversation).await.0, StatusCode::OK);
    let (_, list) = world.get("bob", "/conversations").await;
    assert_eq!(list["items"], json!([]));
    assert_eq!(world.get("bob", "/workspaces").await.1["items"].as_array().unwrap().len(), 2);
    world.0.stop().await;
}
