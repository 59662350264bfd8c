//! Who gets which conversation.

use std::sync::Arc;

use indexmap::IndexMap;
use longshore_engine::{Error, Made, Replay, Skills};
use longshore_protocol::{
    ConversationId,
    agent::SecretValue,
    confirmation::{ConfirmationPolicy, ConfirmationResponse},
    conversation::UpdateConversation,
};
use longshore_store::{ConversationQuery, EventFilter, EventQuery};
use longshore_testkit::say;
use serde_json::{Value, json};

use crate::world::{World, ann, bob, message};

const ID: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_id_again_is_the_same_conversation() {
    let world = Arc::new(World::new());
    world.provider.respond("m", |_| say("hi"));
    let first = json!({"role": "user", "content": [{"type": "text", "text": "hello"}], "run": true});
    let request = world.request("m", json!({"conversation_id": ID, "initial_message": first}));
    let calls = (0..16).map(|_| {
        let (world, request) = (Arc::clone(&world), request.clone());
        tokio::spawn(async move { world.engine.create(&ann(), request, Skills::Trimmed).await.unwrap() })
    });
    let mut new = 0;
    for call in calls.collect::<Vec<_>>() {
        let (info, made) = call.await.unwrap();
        new += usize::from(made == Made::New);
        assert_eq!(serde_json::from_slice::<Value>(&info.0).unwrap()["id"], ID);
    }
    assert_eq!(new, 1);
    let id: ConversationId = ID.parse().unwrap();
    world.until_status(id, "finished").await;
    let log = world.log(id).await;
    assert_eq!(log.iter().filter(|line| *line == "MessageEvent").count(), 2, "said once, answered once: {log:?}");
    assert_eq!(world.engine.count(&ann(), None, None).await.unwrap(), 1);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn nobody_reaches_a_conversation_of_somebody_else() {
    let world = World::new();
    world.provider.script("m", [say("secret plans")]);
    let id = world.create("m", json!({"conversation_id": ID})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until_settled("finished").await;
    let event = world.events(id).await[0]["id"].as_str().unwrap().to_owned();

    let (engine, bob) = (&world.engine, &bob());
    let taken = engine.create(bob, world.request("m", json!({"conversation_id": ID})), Skills::Trimmed).await;
    assert!(matches!(taken, Err(Error::IdTaken(taken)) if taken == id), "{taken:?}");
    let secrets = || IndexMap::from([("A".to_owned(), serde_json::from_value::<SecretValue>(json!("b")).unwrap())]);
    let update = || UpdateConversation { title: Some("mine".to_owned()), tags: None };
    let no = ConfirmationResponse { accept: false, reason: String::new() };
    let query = || EventQuery { limit: 10, ..EventQuery::default() };
    let refusals = [
        ("info", engine.info(bob, id, Skills::Included).await.err()),
        ("delete", engine.delete(bob, id).await.err()),
        ("send", engine.send(bob, id, message("hi", true)).await.err()),
        ("run", engine.run(bob, id).await.err()),
        ("pause", engine.pause(bob, id).await.err()),
        ("interrupt", engine.interrupt(bob, id).await.err()),
        ("confirm", engine.confirm(bob, id, no).await.err()),
        ("policy", engine.set_confirmation_policy(bob, id, ConfirmationPolicy::default()).await.err()),
        ("analyzer", engine.set_security_analyzer(bob, id, None).await.err()),
        ("secrets", engine.update_secrets(bob, id, secrets()).await.err()),
        ("update", engine.update(bob, id, update()).await.err()),
        ("update nothing", engine.update(bob, id, UpdateConversation::default()).await.err()),
        ("subscribe", engine.subscribe(bob, id, Replay::All).await.err()),
        ("find", engine.find_events(bob, id, query()).await.err()),
        ("count", engine.count_events(bob, id, EventFilter::default()).await.err()),
        ("by id", engine.events_by_id(bob, id, &[event]).await.err()),
        ("response", engine.final_response(bob, id).await.err()),
        ("workspace", engine.workspace(bob, id).await.err()),
    ];
    for (name, refusal) in refusals {
        assert!(matches!(refusal, Some(Error::NotFound(_))), "{name}: {refusal:?}");
    }
    assert_eq!(engine.count(bob, None, None).await.unwrap(), 0);
    let query = ConversationQuery { limit: 10, ..ConversationQuery::default() };
    assert!(engine.list(bob, query, Skills::Included).await.unwrap().items.is_empty());
    assert_eq!(engine.get_many(bob, &[id], Skills::Included).await.unwrap(), [None]);
    let child = world.request("m", json!({"parent_conversation_id": ID}));
    let child = engine.create(bob, child, Skills::Trimmed).await;
    assert!(matches!(child, Err(Error::Invalid { field: "parent_conversation_id", .. })), "{child:?}");
    assert_eq!(engine.in_memory_count(), 1, "what was refused left nothing in memory");
    assert_eq!(world.info(id).await["title"], Value::Null);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn children_are_seen_as_they_come_and_go() {
    let world = World::new();
    let parent = world.create("m", json!({})).await;
    let _watch = world.watch(parent).await;
    assert_eq!(world.info(parent).await["sub_conversation_ids"], json!([]));
    let child = world.create("m", json!({"parent_conversation_id": parent})).await;
    assert_eq!(world.info(parent).await["sub_conversation_ids"], json!([child]));
    world.engine.delete(&ann(), child).await.unwrap();
    assert_eq!(world.info(parent).await["sub_conversation_ids"], json!([]));
    world.engine.shutdown().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_stored() {
    let world = World::new();
    for (field, more) in [
        ("agent", json!({"agent": {"tools": [{"name": "nosuch"}]}})),
        ("agent", json!({"agent": {"tools": [{"name": "terminal"}, {"name": "terminal"}]}})),
        ("tags", json!({"tags": {"Not Good": "x"}})),
        ("secrets", json!({"secrets": {"1A": "x"}})),
        ("max_iterations", json!({"max_iterations": 0})),
        ("parent_conversation_id", json!({"parent_conversation_id": ID})),
        ("security_analyzer", json!({"security_analyzer": {"kind": "GraySwanAnalyzer"}})),
        ("confirmation_policy", json!({"confirmation_policy": {"kind": "Bogus"}})),
        ("worktree", json!({"worktree": true})),
    ] {
        let error = world.engine.create(&ann(), world.request("m", more.clone()), Skills::Trimmed).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: named, .. } if *named == field), "{more}: {error:?}");
    }
    assert_eq!(world.engine.count(&ann(), None, None).await.unwrap(), 0);
}
