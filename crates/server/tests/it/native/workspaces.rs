//! Workspaces: made, listed, changed, deleted.

use longshore_server::{Limits, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NOBODY, World, id, own};
use crate::server::{answer, until};

#[tokio::test]
async fn a_workspace_is_made_used_and_deleted() {
    let world = World::start().await;
    let folder = world.0.path("made");
    let wish = json!({"working_dir": folder, "env": {"TOKEN": "s3cr3t"}, "timeout": 60});
    let (status, info) = world.post("ann", "/workspaces", wish).await;
    assert_eq!(status, StatusCode::CREATED, "{info}");
    assert!(!info.to_string().contains("s3cr3t"), "{info}");
    for (field, expected) in [
        ("user_id", json!("ann")),
        ("status", json!("created")),
        ("backend", json!("local")),
        ("is_own", json!(false)),
        ("working_dir", json!(folder)),
        ("timeout", json!(60)),
        ("resource_limits", json!({})),
        ("last_used_at", Value::Null),
    ] {
        assert_eq!(info[field], expected, "{field}: {info}");
    }
    let path = format!("/workspaces/{}", info["id"].as_str().unwrap());
    assert_eq!(world.get("ann", &path).await, (StatusCode::OK, info));

    let (status, output) = world.post("ann", &format!("{path}/execute"), json!({"command": "echo $TOKEN; pwd"})).await;
    assert_eq!((status, &output["stdout"]), (StatusCode::OK, &json!(format!("s3cr3t\n{folder}\n"))), "{output}");
    let (_, info) = world.get("ann", &path).await;
    assert_eq!(info["status"], "ready");
    assert!(info["last_used_at"].is_string() && !info.to_string().contains("s3cr3t"), "{info}");
    // What happened is written down beside the work.
    until(async || {
        let (_, events) = world.get("ann", &format!("{path}/events")).await;
        (events["items"].as_array().unwrap().last()?["state"] == "ready").then_some(())
    })
    .await;

    assert_eq!(world.delete("ann", &path).await.0, StatusCode::NO_CONTENT);
    for (method, path) in [(Method::GET, path.clone()), (Method::DELETE, path.clone())] {
        assert_eq!(world.ask("ann", method, &path, Value::Null).await.0, StatusCode::NOT_FOUND);
    }
    world.0.stop().await;
}

#[tokio::test]
async fn the_own_workspace_is_there_without_being_made_and_comes_back() {
    let world = World::start().await;
    let (status, info) = world.get("ann", &own("ann")).await;
    assert_eq!((status, &info["is_own"], &info["status"]), (StatusCode::OK, &json!(true), &json!("created")));
    assert_eq!(world.get("ann", &format!("{}/events", own("ann"))).await.1, json!({"items": [], "next_seq": 0}));
    for round in 0..2 {
        let (status, info) = world.post("ann", &format!("{}/resume", own("ann")), Value::Null).await;
        assert_eq!((status, &info["status"]), (StatusCode::OK, &json!("ready")), "{round}: {info}");
        assert_eq!(world.delete("ann", &own("ann")).await.0, StatusCode::NO_CONTENT);
        assert_eq!(world.get("ann", &own("ann")).await.1["status"], "created");
    }
    let (status, _) = world.post("ann", &format!("{}/pause", own("ann")), Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT, "there is no box that could sleep");
    world.0.stop().await;
}

#[tokio::test]
async fn lists_have_the_own_workspace_first_and_are_paged() {
    let world = World::start().await;
    let mut expected = vec![id(&own("ann")).to_owned()];
    for name in ["one", "two", "three"] {
        expected.push(id(&world.workspace("ann", name).await).to_owned());
    }
    world.workspace("bob", "other").await;
    for limit in 1..=5 {
        let mut found = Vec::new();
        let mut page_id = String::new();
        loop {
            let (status, page) = world.get("ann", &format!("/workspaces?limit={limit}{page_id}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            match page["next_page_id"].as_str() {
                Some(next) => page_id = format!("&page_id={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    let (status, _) = world.get("ann", "/workspaces?limit=0").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    world.0.stop().await;
}

#[tokio::test]
async fn nobody_makes_more_than_may_be_and_a_repeated_wish_makes_one() {
    let limits = Limits { max_workspaces_per_user: 2, ..Limits::default() };
    let world = World::with(Options { limits, ..Options::default() }).await;
    let make = async |key: &str, idempotency: &str| {
        let request = world.request(key, Method::POST, "/workspaces").header("Idempotency-Key", idempotency);
        answer(request.json(&json!({"working_dir": world.0.path("x")}))).await
    };
    let (status, first) = make("ann", "k").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(make("ann", "other").await.0, StatusCode::CREATED);
    let (status, again) = make("ann", "k").await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
    let (status, body) = make("ann", "third").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["detail"], "You have 2 workspaces, as many as you may have: delete one first.");
    let (status, of_bob) = make("bob", "k").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(of_bob["id"], first["id"]);
    assert_eq!(make("bob", &"k".repeat(256)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    world.delete("ann", &format!("/workspaces/{}", first["id"].as_str().unwrap())).await;
    assert_eq!(make("ann", "third").await.0, StatusCode::CREATED);
    world.0.stop().await;
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let world = World::start().await;
    for wish in [
        json!({"backend": "podman"}),
        json!({"image": "debian"}),
        json!({"resource_limits": {"memory": "1g"}}),
        json!({"resource_limits": {"ram": 1}}),
        json!({"network_mode": "bridge"}),
        json!({"network_mode": "host"}),
        json!({"timeout": -1}),
        json!({"timeout": 99_999_999_999_u64}),
        json!({"env": {"A=B": "x"}}),
        json!({"working_dir": ""}),
        json!({"working_dir": "a\u{0}b"}),
        json!({"working_dir": "a".repeat(5000)}),
        json!({"unknown": 1}),
        json!([]),
    ] {
        let (status, body) = world.post("ann", "/workspaces", wish.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wish}: {body}");
    }
    let path = world.workspace("ann", "x").await;
    for change in [json!({"resource_limits": {"memory": "1g"}}), json!({"resource_limits": {"memory": 1}}), json!({})] {
        let (status, body) = world.ask("ann", Method::PATCH, &path, change.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{change}: {body}");
    }
    let (status, info) = world.ask("ann", Method::PATCH, &path, json!({"resource_limits": {}})).await;
    assert_eq!((status, &info["resource_limits"]), (StatusCode::OK, &json!({})));
    world.0.stop().await;
}

#[tokio::test]
async fn a_bound_key_reaches_one_workspace() {
    let world = World::start().await;
    let (path, other) = (world.workspace("ann", "one").await, world.workspace("ann", "two").await);
    let key = format!("ann@{}", id(&path));
    let (_, list) = world.get(&key, "/workspaces").await;
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["id"]), (1, &json!(id(&path))));
    assert_eq!(world.get(&key, &path).await.0, StatusCode::OK);
    for hidden in [&other, &own("ann")] {
        assert_eq!(world.get(&key, hidden).await.0, StatusCode::NOT_FOUND);
        let (status, _) = world.post(&key, &format!("{hidden}/execute"), json!({"command": "true"})).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    assert_eq!(world.post(&key, "/workspaces", json!({})).await.0, StatusCode::FORBIDDEN);
    let wish = json!({"llm": world.llm("m"), "workspace_id": id(&other)});
    assert_eq!(world.post(&key, "/conversations", wish).await.0, StatusCode::NOT_FOUND);
    let inside = world.conversation(&key, "m", json!({})).await;
    let outside = world.conversation("ann", "m", json!({})).await;
    assert_eq!(world.get(&key, &inside).await.1["workspace_id"], id(&path));
    assert_eq!(world.get("ann", &outside).await.1["workspace_id"], id(&own("ann")));
    for path in [outside.clone(), format!("{outside}/stream")] {
        assert_eq!(world.get(&key, &path).await.0, StatusCode::NOT_FOUND);
    }
    let (_, list) = world.get(&key, "/conversations").await;
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["id"]), (1, &json!(id(&inside))));
    let (_, list) = world.get(&key, &format!("/conversations?workspace_id={}", id(&other))).await;
    assert_eq!(list["items"], json!([]));
    assert_eq!(world.get("ann", &format!("/workspaces/{NOBODY}")).await.0, StatusCode::NOT_FOUND);
    world.0.stop().await;
}
