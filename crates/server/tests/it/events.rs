//! Events over REST.

use longshore_testkit::{call, say};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    agents::{ids, kinds, message},
    server::{TestServer, answer},
};

/// A server with a conversation that ran a command and finished.
async fn with_history() -> (TestServer, String) {
    let server = TestServer::start().await;
    let replies = [call("terminal", json!({"command": "echo out"})), call("finish", json!({"message": "All done"}))];
    let conversation = server.finished("m", replies).await;
    (server, conversation)
}

#[tokio::test]
async fn events_are_found_by_page_kind_source_text_and_time() {
    let (server, conversation) = with_history().await;
    let all = server.events(&conversation).await;
    let search = async |query: &str| server.look(&format!("{conversation}/events/search{query}")).await;
    let items = |page: &Value| page["items"].as_array().unwrap().clone();

    let mut paged = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = search(&query).await;
        assert!(items(&page).len() <= 3);
        paged.extend(items(&page));
        let Some(next) = page["next_page_id"].as_str() else { break };
        query = format!("?limit=3&page_id={next}");
    }
    assert_eq!(paged, all);
    let backwards = items(&search("?sort_order=TIMESTAMP_DESC").await);
    assert!(backwards.iter().eq(all.iter().rev()));
    for page_id in ["bogus", "", "99999999-2222-3333-4444-555555555555"] {
        assert_eq!(items(&search(&format!("?limit=1&page_id={page_id}")).await), all[..1], "{page_id}");
        let page = search(&format!("?limit=1&sort_order=TIMESTAMP_DESC&page_id={page_id}")).await;
        assert_eq!(items(&page), all[all.len() - 1..], "{page_id}");
    }

    let user = all.iter().find(|event| event["source"] == "user").unwrap();
    let time = user["timestamp"].as_str().unwrap();
    for (query, expected) in [
        ("?kind=ActionEvent".to_owned(), vec!["ActionEvent", "ActionEvent"]),
        ("?kind=openhands.sdk.event.llm_convertible.message.MessageEvent&source=user".to_owned(), vec!["MessageEvent"]),
        ("?kind=Nope".to_owned(), vec![]),
        ("?body=GO".to_owned(), vec!["MessageEvent"]),
        ("?body=echo".to_owned(), vec![]),
        ("?body=%25".to_owned(), vec![]),
        ("?source=user".to_owned(), vec!["MessageEvent"]),
        ("?source=hook".to_owned(), vec![]),
        ("?timestamp__gte=2020-01-01T00:00:00Z&timestamp__lt=2021-01-01T00:00:00%2B02:00".to_owned(), vec![]),
        (format!("?source=user&timestamp__gte={time}"), vec!["MessageEvent"]),
        (format!("?source=user&timestamp__lt={time}"), vec![]),
    ] {
        let page = search(&query).await;
        assert_eq!(kinds(&items(&page)), expected, "{query}");
        let count = server.look(&format!("{conversation}/events/count{query}")).await;
        assert_eq!(count, expected.len(), "{query}");
    }
    assert_eq!(server.look(&format!("{conversation}/events/count")).await, all.len());

    for (path, kind, loc) in [
        ("search?limit=0", "greater_than", "limit"),
        ("search?limit=101", "less_than_equal", "limit"),
        ("search?source=nobody", "literal_error", "source"),
        ("search?sort_order=UP", "literal_error", "sort_order"),
        ("search?timestamp__gte=garbage", "value_error", "timestamp__gte"),
        ("count?timestamp__lt=garbage", "value_error", "timestamp__lt"),
    ] {
        let (status, body) = answer(server.get(&format!("{conversation}/events/{path}"))).await;
        let problem = &body["detail"][0];
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!((&problem["type"], &problem["loc"]), (&json!(kind), &json!(["query", loc])), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn events_are_read_by_id_with_nulls_and_found_without() {
    let (server, conversation) = with_history().await;
    let all = server.events(&conversation).await;
    let (first, last) = (ids(&all)[0], ids(&all)[all.len() - 1]);
    let has_null = |event: &Value| event.as_object().unwrap().values().any(Value::is_null);
    assert!(!all.iter().any(has_null), "pages have no nulls");
    let one = server.look(&format!("{conversation}/events/{first}")).await;
    assert_eq!(one["id"], first);
    assert_eq!(one.as_object().unwrap().get("parent_id"), Some(&Value::Null));
    let unknown = answer(server.get(&format!("{conversation}/events/nope"))).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!({"detail": "Not Found"})));

    let path = format!("{conversation}/events");
    let in_body = answer(server.get(&path).json(&json!([first, "nope", last]))).await.1;
    assert_eq!((&in_body[0], &in_body[1], &in_body[2]["id"]), (&one, &Value::Null, &json!(last)));
    let in_query = server.look(&format!("{path}?event_ids={first}&event_ids=nope&event_ids={last}")).await;
    assert_eq!(in_query, in_body);
    let both = answer(server.get(&format!("{path}?event_ids=nope")).json(&json!([first]))).await.1;
    assert_eq!(both, json!([one, null]));
    for request in [
        server.get(&path),
        server.get(&path).json(&json!([])),
        server.get(&path).json(&json!({"ids": [first]})),
        server.get(&path).json(&json!([1])),
        server.get(&path).json(&json!(vec![first; 101])),
        server.get(&path).body("{bad"),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(body["detail"].is_array(), "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn messages_of_users_are_taken_and_others_are_not() {
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({})).await;
    let path = format!("{conversation}/events");
    let image = json!({"type": "image", "image_urls": ["data:image/png;base64,iVBORw0KGgo="]});
    let text = json!({"type": "text", "text": "t"});
    for body in [
        json!({}),
        json!({"role": "user", "content": []}),
        json!({"role": "user", "content": [image, text]}),
        json!({"content": [{"type": "text", "text": "\u{0}\u{1f600}"}], "unknown": 1}),
    ] {
        assert_eq!(server.post_json(&path, &body).await, (StatusCode::OK, json!({"success": true})), "{body}");
    }
    assert_eq!(server.look(&format!("{path}/count?kind=MessageEvent")).await, 4);
    for (body, kind, loc) in [
        (json!({"role": "nope"}), "literal_error", json!(["body", "role"])),
        // W1, W10: the official server fails and stalls.
        (json!({"role": "assistant"}), "value_error", json!(["body", "role"])),
        (json!({"role": "system"}), "value_error", json!(["body", "role"])),
        (json!({"content": "string"}), "list_type", json!(["body", "content"])),
        (json!({"run": "maybe"}), "bool_type", json!(["body", "run"])),
        (json!([]), "model_attributes_type", json!(["body"])),
    ] {
        let (status, answer) = server.post_json(&path, &body).await;
        let problem = &answer["detail"][0];
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {answer}");
        assert_eq!((&problem["type"], &problem["loc"]), (&json!(kind), &loc), "{body}: {answer}");
    }
    for content in [json!([{"type": "nope"}]), json!([1]), json!([{"type": "text"}])] {
        let (status, answer) = server.post_json(&path, &json!({"content": content})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{content}: {answer}");
        assert_eq!(answer["detail"][0]["loc"][1], "content", "{answer}");
    }
    assert_eq!(server.look(&format!("{path}/count?kind=MessageEvent")).await, 4);
    server.stop().await;
}

/// W3: the official server takes a new message for a yes.
#[tokio::test]
async fn a_message_rejects_what_waits() {
    let server = TestServer::start().await;
    let command = call("terminal", json!({"command": "touch ran"}));
    server.provider().script("m", [command, say("as you wish")]);
    let info = server.make("m", json!({"confirmation_policy": {"kind": "AlwaysConfirm"}})).await;
    let conversation = format!("/api/conversations/{}", info["id"].as_str().unwrap());
    server.say(&conversation, "go").await;
    server.until_status(&conversation, "waiting_for_confirmation").await;
    server.post_json(&format!("{conversation}/events"), &message("instead do nothing")).await;
    server.until_status(&conversation, "finished").await;
    let ran = std::path::Path::new(info["workspace"]["working_dir"].as_str().unwrap()).join("ran");
    assert!(!ran.exists());
    let (status, _) = answer(server.request(Method::DELETE, &conversation)).await;
    assert_eq!(status, StatusCode::OK);
    server.stop().await;
}
