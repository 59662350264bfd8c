//! Actions that wait for the user.

use longshore_protocol::confirmation::{AlwaysConfirm, ConfirmationResponse, NeverConfirm};
use longshore_testkit::{call, say};
use serde_json::{Value, json};

use crate::world::{World, ann, lines};

fn always() -> Value {
    json!({"confirmation_policy": {"kind": "AlwaysConfirm"}})
}

async fn waiting(world: &World) -> longshore_protocol::ConversationId {
    world.provider.script("m", [call("terminal", json!({"command": "echo ran >> ran.txt"})), say("done")]);
    let id = world.create("m", always()).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until_settled("waiting_for_confirmation").await;
    id
}

fn ran(world: &World) -> String {
    std::fs::read_to_string(world.folder.path().join("work/ran.txt")).unwrap_or_default()
}

#[tokio::test]
async fn accepted_actions_run_once() {
    let world = World::new();
    let id = waiting(&world).await;
    assert_eq!(ran(&world), "");
    let mut watch = world.watch(id).await;
    let yes = ConfirmationResponse { accept: true, reason: String::new() };
    world.engine.confirm(&ann(), id, yes.clone()).await.unwrap();
    let _ = world.engine.confirm(&ann(), id, yes).await;
    watch.until_settled("finished").await;
    assert_eq!(ran(&world), "ran\n");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_run_accepts_what_waits() {
    let world = World::new();
    let id = waiting(&world).await;
    let mut watch = world.watch(id).await;
    world.engine.run(&ann(), id).await.unwrap();
    watch.until_settled("finished").await;
    assert_eq!(ran(&world), "ran\n");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn rejected_actions_do_not_run_and_the_model_is_told_why() {
    let world = World::new();
    let id = waiting(&world).await;
    let no = ConfirmationResponse { accept: false, reason: "not on my machine".to_owned() };
    world.engine.confirm(&ann(), id, no).await.unwrap();
    assert_eq!(world.status(id).await, "idle");
    let mut watch = world.watch(id).await;
    world.engine.run(&ann(), id).await.unwrap();
    watch.until_settled("finished").await;
    assert_eq!(ran(&world), "");
    assert!(world.provider.requests()[1].body.to_string().contains("not on my machine"));
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_new_message_rejects_what_waits() {
    let world = World::new();
    let id = waiting(&world).await;
    let mut watch = world.watch(id).await;
    world.say(id, "something else", true).await.unwrap();
    let frames = watch.until_settled("finished").await;
    assert!(lines(&frames).contains(&"UserRejectObservation".to_owned()), "{:?}", lines(&frames));
    assert_eq!(ran(&world), "");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn what_waits_still_waits_after_a_restart() {
    let world = World::new();
    let id = waiting(&world).await;
    let world = world.restart().await;
    world.engine.recover().await.unwrap();
    assert_eq!(world.status(id).await, "waiting_for_confirmation");
    let mut watch = world.watch(id).await;
    world.engine.run(&ann(), id).await.unwrap();
    watch.until_settled("finished").await;
    assert_eq!(ran(&world), "ran\n");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_policy_that_was_changed_is_kept_over_a_restart() {
    let world = World::new();
    let id = world.create("m", always()).await;
    world.engine.set_confirmation_policy(&ann(), id, NeverConfirm {}.into()).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.info(id).await["confirmation_policy"]["kind"], "NeverConfirm");
    world.engine.set_confirmation_policy(&ann(), id, AlwaysConfirm {}.into()).await.unwrap();
    assert_eq!(world.info(id).await["confirmation_policy"]["kind"], "AlwaysConfirm");
    world.engine.shutdown().await;
}
