//! Only so many conversations run at the same time.

use longshore_engine::{Error, QueueLimits, Skills};
use longshore_protocol::ConversationId;
use longshore_testkit::{hang, say, status};
use serde_json::json;

use crate::world::{World, ann, until};

/// One place, and no queue before it.
fn world() -> World {
    World::with(|options| {
        options.max_concurrent_runs = 1;
        options.queue = QueueLimits { waiting: 0, ..QueueLimits::default() };
    })
}

/// A conversation that holds the only place.
async fn occupied(world: &World) -> ConversationId {
    world.provider.script("m", [hang(), say("done")]);
    let id = world.create("m", json!({})).await;
    world.go(id).await;
    world.provider.wait_for_hanging(1).await;
    id
}

/// The place is free, or will be soon.
async fn assert_free(world: &World) {
    let id = world.create("free", json!({})).await;
    world.provider.respond("free", |_| say("done"));
    world.say(id, "go", false).await.unwrap();
    until("a place is free", async || world.engine.run(&ann(), id).await.is_ok()).await;
    world.until_status(id, "finished").await;
}

#[tokio::test]
async fn one_more_run_is_refused_but_its_message_is_kept() {
    let world = world();
    let first = occupied(&world).await;
    let second = world.create("m", json!({})).await;
    let refused = world.say(second, "hello", true).await;
    assert!(matches!(refused, Err(Error::SavedAtCapacity(id)) if id == second), "{refused:?}");
    let refused = world.engine.run(&ann(), second).await;
    assert!(matches!(refused, Err(Error::AtCapacity)), "{refused:?}");
    assert_eq!(world.log(second).await, ["SystemPromptEvent", "MessageEvent", "state last_user_message_id"]);
    let message = json!({"role": "user", "content": [{"type": "text", "text": "x"}]});
    let request = world.request("m", json!({"initial_message": message}));
    let refused = world.engine.create(&ann(), request, Skills::Trimmed).await;
    assert!(matches!(refused, Err(Error::AtCapacity)), "{refused:?}");
    assert_eq!(world.engine.count(&ann(), None, None).await.unwrap(), 2);

    world.provider.release();
    world.until_status(first, "finished").await;
    world.engine.run(&ann(), second).await.unwrap();
    world.engine.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_run_frees_its_place() {
    let world = world();
    world.provider.script("m", [say("done")]);
    let id = world.create("m", json!({})).await;
    world.go(id).await;
    world.until_status(id, "finished").await;
    assert_free(&world).await;
    // A finished conversation has nothing to do and holds no place for it.
    world.engine.run(&ann(), id).await.unwrap();
    assert_free(&world).await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_error_frees_its_place() {
    let world = world();
    world.provider.script("m", [status(400, json!({"error": {"message": "no"}}))]);
    let id = world.create("m", json!({})).await;
    world.go(id).await;
    world.until_status(id, "error").await;
    assert_free(&world).await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_pause_frees_the_place_when_what_was_under_way_has_ended() {
    let world = world();
    let id = occupied(&world).await;
    world.engine.pause(&ann(), id).await.unwrap();
    world.provider.release();
    assert_free(&world).await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_interrupt_frees_the_place() {
    let world = world();
    let id = occupied(&world).await;
    world.engine.interrupt(&ann(), id).await.unwrap();
    assert_free(&world).await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_deletion_frees_the_place() {
    let world = world();
    let id = occupied(&world).await;
    world.engine.delete(&ann(), id).await.unwrap();
    assert_free(&world).await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn actions_that_wait_for_the_user_hold_no_place() {
    let world = world();
    let policy = json!({"confirmation_policy": {"kind": "AlwaysConfirm"}});
    world.provider.script("m", [longshore_testkit::call("terminal", json!({"command": "true"}))]);
    let id = world.create("m", policy).await;
    world.go(id).await;
    world.until_status(id, "waiting_for_confirmation").await;
    assert_free(&world).await;
    world.engine.shutdown().await;
}
