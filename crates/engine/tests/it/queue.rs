//! Runs over the limit wait for their turn.

use longshore_engine::{Error, Replay};
use longshore_protocol::ConversationId;
use longshore_testkit::{call, hang, say};
use serde_json::{Value, json};

use crate::world::{World, ann, bob, message};

/// A world with one place, which a conversation holds.
async fn occupied() -> (World, ConversationId) {
    let world = World::with(|options| options.max_concurrent_runs = 1);
    world.provider.script("busy", [hang()]);
    world.provider.respond("m", |_| say("done"));
    let busy = world.create("busy", json!({})).await;
    world.go(busy).await;
    world.provider.wait_for_hanging(1).await;
    (world, busy)
}

/// A conversation that waits for its turn.
async fn waiting(world: &World) -> ConversationId {
    let id = world.create("m", json!({})).await;
    world.go(id).await;
    assert_eq!(world.status(id).await, "running");
    id
}

fn place(frame: &Value) -> Option<&Value> {
    (frame["key"] == "queue").then(|| &frame["value"])
}

#[tokio::test]
async fn a_run_over_the_limit_waits_and_tells_where_it_stands() {
    let (world, busy) = occupied().await;
    let second = waiting(&world).await;
    let third = world.create("m", json!({})).await;
    let mut watch = world.watch_from(third, Replay::Nothing).await;
    world.go(third).await;
    watch.until(|frame| place(frame) == Some(&json!({"position": 2}))).await;
    let again = world.engine.run(&ann(), third).await;
    assert!(matches!(again, Err(Error::AlreadyRunning)), "{again:?}");

    world.engine.interrupt(&ann(), busy).await.unwrap();
    watch.until(|frame| place(frame) == Some(&Value::Null)).await;
    world.until_status(second, "finished").await;
    world.until_status(third, "finished").await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_run_that_waits_is_paused_interrupted_and_deleted_at_once() {
    let (world, busy) = occupied().await;
    let paused = waiting(&world).await;
    let interrupted = waiting(&world).await;
    let deleted = waiting(&world).await;
    let last = waiting(&world).await;
    world.engine.pause(&ann(), paused).await.unwrap();
    world.engine.interrupt(&ann(), interrupted).await.unwrap();
    world.engine.delete(&ann(), deleted).await.unwrap();
    assert_eq!(world.status(paused).await, "paused");
    assert_eq!(world.status(interrupted).await, "paused");

    world.engine.interrupt(&ann(), busy).await.unwrap();
    world.until_status(last, "finished").await;
    for id in [paused, interrupted] {
        assert_eq!(world.status(id).await, "paused", "it does not come back by itself");
        world.engine.run(&ann(), id).await.unwrap();
        world.until_status(id, "finished").await;
    }
    world.engine.shutdown().await;
}

#[tokio::test]
async fn actions_that_were_accepted_wait_for_their_turn_and_outlive_a_pause() {
    let world = World::with(|options| options.max_concurrent_runs = 1);
    world.provider.script("busy", [hang()]);
    let busy = world.create("busy", json!({})).await;
    let policy = json!({"confirmation_policy": {"kind": "AlwaysConfirm"}});
    world.provider.script("asks", [call("terminal", json!({"command": "touch accepted"})), say("done")]);
    let asks = world.create("asks", policy).await;
    world.go(asks).await;
    world.until_status(asks, "waiting_for_confirmation").await;
    world.go(busy).await;
    world.provider.wait_for_hanging(1).await;

    world.engine.run(&ann(), asks).await.unwrap();
    world.engine.pause(&ann(), asks).await.unwrap();
    world.engine.run(&ann(), asks).await.unwrap();
    assert_eq!(world.status(asks).await, "running");
    assert!(!world.file("accepted").exists());
    world.engine.interrupt(&ann(), busy).await.unwrap();
    world.until_status(asks, "finished").await;
    assert!(world.file("accepted").exists());
    world.engine.shutdown().await;
}

#[tokio::test]
async fn who_asks_for_much_does_not_delay_others() {
    let (world, busy) = occupied().await;
    let mut hog = Vec::new();
    for _ in 0..5 {
        hog.push(waiting(&world).await);
    }
    let request = world.request("m", json!({}));
    let (info, _) = world.engine.create(&bob(), request, longshore_engine::Skills::Trimmed).await.unwrap();
    let info: Value = serde_json::from_slice(&info.0).unwrap();
    let other: ConversationId = info["id"].as_str().unwrap().parse().unwrap();
    let mut watch = world.engine.subscribe(&bob(), other, Replay::Nothing).await.unwrap();
    world.engine.send(&bob(), other, message("go", true)).await.unwrap();
    let position = loop {
        let frame: Value = serde_json::from_str(&watch.next().await.unwrap()).unwrap();
        if let Some(place) = place(&frame) {
            break place["position"].clone();
        }
    };
    assert_eq!(position, 2, "behind one run of the other user, not behind five");
    world.engine.interrupt(&ann(), busy).await.unwrap();
    for id in hog {
        world.until_status(id, "finished").await;
    }
    world.engine.shutdown().await;
}
