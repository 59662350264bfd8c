//! Conversations: made, listed, talked to, deleted.

use std::sync::Arc;

use longshore_llm::{ModelsOptions, OperatedModel};
use longshore_protocol::Llm;
use longshore_testkit::{call, say};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NOBODY, Names, World, id, own};
use crate::server::{Setup, TestServer, answer, until};

#[tokio::test]
async fn an_agent_works_in_the_workspace_that_is_named() {
    let world = World::start().await;
    world.0.provider().script("m", [call("terminal", json!({"command": "echo made >file"})), say("All done.")]);
    let workspace = world.workspace("ann", "place").await;
    let more = json!({"workspace_id": id(&workspace), "message": "Make a file."});
    let conversation = world.conversation("ann", "m", more).await;
    let info = world.until_status("ann", &conversation, "finished").await;
    for (field, expected) in [
        ("user_id", json!("ann")),
        ("workspace_id", json!(id(&workspace))),
        ("model", json!("openai/m")),
        ("id", json!(id(&conversation))),
    ] {
        assert_eq!(info[field], expected, "{field}: {info}");
    }
    assert!(info["tokens"]["prompt"].as_u64().unwrap() > 0 && info["cost"].is_number(), "{info}");
    let (status, file) = world.get("ann", &format!("{workspace}/files/file")).await;
    assert_eq!((status, file), (StatusCode::OK, json!("made\n")));
    let tools = world.0.provider().requests()[0].body["tools"].clone();
    let named = |name: &&str| tools.as_array().unwrap().iter().any(|tool| tool["function"]["name"] == *name);
    assert!(["terminal", "file_editor", "task_tracker", "finish"].iter().all(named), "{tools}");
    world.0.stop().await;
}

#[tokio::test]
async fn a_message_starts_a_run_and_a_run_is_stopped() {
    let world = World::start().await;
    world.0.provider().script("m", [call("terminal", json!({"command": "touch begun; sleep 40"})), say("two")]);
    let conversation = world.conversation("ann", "m", json!({"tools": ["terminal"]})).await;
    assert_eq!(world.get("ann", &conversation).await.1["status"], "idle");
    let messages = format!("{conversation}/messages");
    let (status, info) = world.post("ann", &messages, json!({"message": "go"})).await;
    assert_eq!((status, &info["status"]), (StatusCode::ACCEPTED, &json!("running")), "{info}");
    until(async || world.0.folder.join("begun").exists().then_some(())).await;
    let (status, info) = world.post("ann", &format!("{conversation}/interrupt"), Value::Null).await;
    assert_eq!((status, &info["status"]), (StatusCode::OK, &json!("paused")), "{info}");
    assert_eq!(world.post("ann", &messages, json!({"message": "go on"})).await.0, StatusCode::ACCEPTED);
    world.until_status("ann", &conversation, "finished").await;
    assert_eq!(world.post("ann", &format!("{conversation}/pause"), Value::Null).await.0, StatusCode::OK);
    for body in [json!({}), json!({"message": " "}), json!({"message": 1}), json!({"message": "x", "more": 1})] {
        let (status, said) = world.post("ann", &messages, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {said}");
    }
    world.0.stop().await;
}

#[tokio::test]
async fn lists_are_paged_and_filtered_and_what_is_deleted_is_gone() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(id(&world.conversation("ann", "m", json!({})).await).to_owned());
    }
    world.conversation("bob", "m", json!({})).await;
    expected.reverse();
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, first) = world.get("ann", "/conversations?limit=2").await;
    let next = first["next_page_id"].as_str().unwrap();
    let (_, rest) = world.get("ann", &format!("/conversations?page_id={next}")).await;
    assert_eq!([ids(&first), ids(&rest)].concat(), expected);
    assert_eq!(ids(&world.get("ann", "/conversations?status=idle").await.1), expected);
    assert_eq!(world.get("ann", "/conversations?status=running").await.1["items"], json!([]));
    assert_eq!(ids(&world.get("ann", &format!("/conversations?workspace_id={}", id(&own("ann")))).await.1), expected);
    assert_eq!(world.get("ann", "/conversations?status=x").await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let one = format!("/conversations/{}", expected[0]);
    assert_eq!(world.delete("ann", &one).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.get("ann", &one).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.delete("ann", &one).await.0, StatusCode::NOT_FOUND);
    world.0.stop().await;
}

#[tokio::test]
async fn a_repeated_wish_makes_one_conversation() {
    let world = World::start().await;
    let make = async |key: &str| {
        let request = world.request(key, Method::POST, "/conversations").header("Idempotency-Key", "k");
        answer(request.json(&json!({"llm": world.llm("m")}))).await
    };
    let (status, first) = make("ann").await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, again) = make("ann").await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
    let (status, other) = make("bob").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(other["id"], first["id"]);
    world.0.stop().await;
}

#[tokio::test]
async fn without_a_model_the_operators_is_taken_if_there_is_one() {
    let world = World::start().await;
    let (status, body) = world.post("ann", "/conversations", json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["detail"].as_str().unwrap().contains("send llm"), "{body}");
    world.0.stop().await;
    let llm = Llm { model: "openai/operators".to_owned(), ..Llm::default() };
    let operated = vec![OperatedModel { name: "small".to_owned(), llm, is_default: true }];
    let models = ModelsOptions { operated, ..ModelsOptions::default() };
    let setup = Setup { models, authenticator: Arc::new(Names), ..Setup::default() };
    let world = World(TestServer::of(setup).await);
    let (status, info) = world.post("ann", "/conversations", json!({})).await;
    assert_eq!((status, &info["model"]), (StatusCode::CREATED, &json!("longshore/small")), "{info}");
    world.0.stop().await;
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let llm = world.llm("m");
    let bobs = world.workspace("bob", "bobs").await;
    for (wish, expected) in [
        (json!({"llm": llm, "workspace_id": NOBODY}), StatusCode::NOT_FOUND),
        (json!({"llm": llm, "workspace_id": id(&bobs)}), StatusCode::NOT_FOUND),
        (json!({"llm": llm, "workspace_id": id(&own("bob"))}), StatusCode::NOT_FOUND),
        (json!({"llm": llm, "message": ""}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"llm": llm, "tools": ["none"]}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"llm": llm, "max_iterations": 0}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"llm": {"model": 1}}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"llm": llm, "agent": {"llm": llm}}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"llm": llm, "unknown": 1}), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let (status, body) = world.post("ann", "/conversations", wish.clone()).await;
        assert_eq!(status, expected, "{wish}: {body}");
        assert!(!body.to_string().contains("sk-test-key"), "{body}");
    }
    world.0.stop().await;
}

#[tokio::test]
async fn a_conversation_outlives_its_workspace_and_says_so() {
    let world = World::start().await;
    world.0.provider().script("m", [say("one")]);
    let workspace = world.workspace("ann", "place").await;
    let more = json!({"workspace_id": id(&workspace), "message": "go"});
    let conversation = world.conversation("ann", "m", more).await;
    world.until_status("ann", &conversation, "finished").await;
    assert_eq!(world.delete("ann", &workspace).await.0, StatusCode::NO_CONTENT);
    let check = async |world: &World| {
        assert_eq!(world.get("ann", &conversation).await.1["status"], "finished");
        let (status, body) = world.post("ann", &format!("{conversation}/messages"), json!({"message": "go"})).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(body["detail"].as_str().unwrap().contains("was deleted: make another conversation"), "{body}");
        let stream = world.request("ann", Method::GET, &format!("{conversation}/stream")).send().await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
    };
    check(&world).await;
    let directory = world.0.stop().await;
    let again = World(TestServer::again_with(directory, Arc::new(Names)).await);
    check(&again).await;
    again.0.stop().await;
}
