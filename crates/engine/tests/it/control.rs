//! What users want while something is at work.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use longshore_engine::{Error, Skills};
use longshore_protocol::{confirmation::AlwaysConfirm, conversation::UpdateConversation};
use longshore_testkit::{call, hang, say};
use serde_json::json;

use crate::world::{AT_ONCE, World, ann, line, lines, within};

#[tokio::test]
async fn every_wish_is_answered_at_once_while_a_tool_runs() {
    let world = World::new();
    let id = world.busy(json!({})).await;
    let engine = &world.engine;
    within(AT_ONCE, "info", engine.info(&ann(), id, Skills::Trimmed)).await.unwrap();
    within(AT_ONCE, "message", world.say(id, "hurry", true)).await.unwrap();
    let update = UpdateConversation { title: Some("slow".to_owned()), tags: Some(IndexMap::new()) };
    within(AT_ONCE, "update", engine.update(&ann(), id, update)).await.unwrap();
    let secrets = IndexMap::from([("TOKEN".to_owned(), serde_json::from_value(json!("value")).unwrap())]);
    within(AT_ONCE, "secrets", engine.update_secrets(&ann(), id, secrets)).await.unwrap();
    within(AT_ONCE, "policy", engine.set_confirmation_policy(&ann(), id, AlwaysConfirm {}.into())).await.unwrap();
    let running = within(AT_ONCE, "run", engine.run(&ann(), id)).await;
    assert!(matches!(running, Err(Error::AlreadyRunning)), "{running:?}");
    let mut watch = within(AT_ONCE, "subscribe", world.watch(id)).await;
    assert_eq!(line(&within(AT_ONCE, "the first frame", watch.next()).await.unwrap()), "full_state running");
    within(AT_ONCE, "pause", engine.pause(&ann(), id)).await.unwrap();
    assert_eq!(world.status(id).await, "paused");
    within(AT_ONCE, "interrupt", engine.interrupt(&ann(), id)).await.unwrap();
    let log = world.log(id).await;
    assert_eq!(log.iter().filter(|line| *line == "MessageEvent").count(), 2);
    assert!(log.contains(&"PauseEvent".to_owned()) && log.contains(&"AgentErrorEvent".to_owned()), "{log:?}");
    assert_eq!(world.info(id).await["title"], "slow");
    within(AT_ONCE, "delete", engine.delete(&ann(), id)).await.unwrap();
    assert!(matches!(engine.info(&ann(), id, Skills::Trimmed).await, Err(Error::NotFound(_))));
    engine.shutdown().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_command_and_the_next_run_goes_on() {
    let world = World::new();
    let id = world.busy(json!({})).await;
    let mut watch = world.watch(id).await;
    within(AT_ONCE, "interrupt", world.engine.interrupt(&ann(), id)).await.unwrap();
    let frames = watch.until_settled("paused").await;
    let expected = ["full_state running", "AgentErrorEvent", "status paused", "InterruptEvent", "full_state paused"];
    assert_eq!(lines(&frames), expected);
    world.provider.script("busy", [call("terminal", json!({"command": "echo again"})), say("done")]);
    world.engine.run(&ann(), id).await.unwrap();
    let frames = watch.until_settled("finished").await;
    let observation = frames.iter().find(|frame| frame["kind"] == "ObservationEvent").unwrap();
    assert_eq!(observation["observation"]["exit_code"], 0, "the shell is free again: {observation}");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_interrupt_hangs_up_on_the_model() {
    let world = World::new();
    world.provider.script("m", [hang(), say("fine")]);
    let id = world.create("m", json!({})).await;
    world.go(id).await;
    world.provider.wait_for_hanging(1).await;
    world.engine.interrupt(&ann(), id).await.unwrap();
    world.provider.wait_for_hang_ups(1).await;
    world.engine.run(&ann(), id).await.unwrap();
    world.until_status(id, "finished").await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_pause_keeps_the_answer_that_was_under_way() {
    let world = World::new();
    world.provider.script(
        "m",
        [call("terminal", json!({"command": "echo x >> ran.txt"})).delay(Duration::from_millis(300)), say("done")],
    );
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    world.provider.wait_for_requests(1).await;
    world.engine.pause(&ann(), id).await.unwrap();
    let frames = watch.until_action().await;
    assert!(lines(&frames).contains(&"status paused".to_owned()), "{:?}", lines(&frames));
    // Not begun while paused, but by the next run, and once.
    world.engine.run(&ann(), id).await.unwrap();
    watch.until_settled("finished").await;
    assert_eq!(std::fs::read_to_string(world.file("ran.txt")).unwrap(), "x\n");
    assert_eq!(world.provider.requests().len(), 2);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_server_stops_soon_and_in_order_while_tools_and_models_work() {
    let world = World::new();
    world.provider.script("m", [hang(), say("done")]);
    let asking = world.create("m", json!({})).await;
    world.go(asking).await;
    world.provider.wait_for_hanging(1).await;
    let acting = world.busy(json!({})).await;
    let begun = Instant::now();
    within(Duration::from_secs(2), "shutdown", world.engine.shutdown()).await;
    assert_eq!(world.engine.in_memory_count(), 0, "after {:?}", begun.elapsed());
    assert!(matches!(world.engine.run(&ann(), asking).await, Err(Error::Stopping)));
    assert!(matches!(world.say(acting, "too late", false).await, Err(Error::Stopping)));

    let world = world.restart().await;
    world.engine.recover().await.unwrap();
    world.provider.script("busy", [say("done")]);
    for id in [asking, acting] {
        assert_eq!(world.status(id).await, "paused");
        world.engine.run(&ann(), id).await.unwrap();
        world.until_status(id, "finished").await;
    }
    let log = world.log(acting).await;
    assert_eq!(log.iter().filter(|line| *line == "AgentErrorEvent").count(), 1, "{log:?}");
    world.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_conversation_that_is_loaded_while_the_server_stops_stops_too() {
    let world = World::new();
    world.provider.respond("m", |_| hang());
    let mut conversations = Vec::new();
    for _ in 0..20 {
        conversations.push(world.create("m", json!({})).await);
    }
    let runs: Vec<_> = conversations
        .iter()
        .map(|id| {
            let (engine, id) = (world.engine.clone(), *id);
            tokio::spawn(async move { engine.send(&ann(), id, crate::world::message("go", true)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    within(Duration::from_secs(2), "shutdown", world.engine.shutdown()).await;
    for run in runs {
        let outcome = run.await.unwrap();
        assert!(matches!(outcome, Ok(()) | Err(Error::Stopping)), "{outcome:?}");
    }
    let world = world.restart().await;
    for id in conversations {
        let status = world.status(id).await;
        assert!(status == "paused" || status == "idle", "{status}");
    }
    world.engine.shutdown().await;
}
