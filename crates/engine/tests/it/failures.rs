//! What cannot be stored did not happen, and what is damaged is named.

use longshore_engine::{Closed, Error, Skills};
use longshore_protocol::ConversationId;
use longshore_store::ConversationQuery;
use longshore_testkit::{call, hang, say};
use rusqlite::{Connection, params};
use serde_json::json;

use crate::world::{World, ann, database, line, reopen};

/// Makes the database refuse every new event until it is healed.
struct Broken(Connection);

impl Broken {
    fn new(world: &World) -> Self {
        let connection = Connection::open(database(world.folder.path())).unwrap();
        connection.busy_timeout(crate::world::DEADLINE).unwrap();
        let trigger = "CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'it is broken'); END";
        connection.execute_batch(trigger).unwrap();
        Self(connection)
    }

    fn heal(self) {
        self.0.execute_batch("DROP TRIGGER broken").unwrap();
    }
}

fn texts(events: &[serde_json::Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["llm_message"]["content"][0]["text"].as_str()).collect()
}

#[tokio::test]
async fn a_message_that_is_not_stored_is_refused_and_nothing_else_is_lost() {
    let world = World::new();
    world.provider.script("m", [say("done")]);
    let id = world.create("m", json!({})).await;
    world.say(id, "before", false).await.unwrap();
    let mut watch = world.watch(id).await;
    let broken = Broken::new(&world);
    let refused = world.say(id, "meanwhile", false).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    assert_eq!(watch.until_closed().await.1, Closed::Failed, "readers are to come again");
    broken.heal();
    world.say(id, "after", true).await.unwrap();
    world.until_status(id, "finished").await;
    assert_eq!(texts(&world.events(id).await), ["before", "after", "done"]);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_run_whose_result_cannot_be_stored_ends_as_an_error() {
    let world = World::with(|options| options.max_concurrent_runs = 1);
    world
        .provider
        .script("m", [call("terminal", json!({"command": "touch on; until [ -e go ]; do sleep 0.05; done"}))]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    world.until_file("on").await;
    let broken = Broken::new(&world);
    std::fs::write(world.file("go"), "").unwrap();
    let (frames, reason) = watch.until_closed().await;
    assert_eq!(reason, Closed::Failed);
    assert!(frames.iter().all(|frame| frame["kind"] != "ObservationEvent"), "nobody hears of what is not stored");
    broken.heal();
    // Whoever asks is told the truth, although nobody runs the conversation any more.
    assert_eq!(world.status(id).await, "error");
    let log = world.log(id).await;
    assert!(log.ends_with(&["AgentErrorEvent".to_owned(), "status error".to_owned()]), "{log:?}");
    world.provider.script("m", [say("done")]);
    world.engine.run(&ann(), id).await.unwrap();
    world.until_status(id, "finished").await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_action_is_not_begun_unless_it_is_stored() {
    let world = World::new();
    world.provider.script("m", [hang(), call("terminal", json!({"command": "touch begun"}))]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    world.provider.wait_for_hanging(1).await;
    let broken = Broken::new(&world);
    world.provider.release();
    assert_eq!(watch.until_closed().await.1, Closed::Failed);
    broken.heal();
    assert_eq!(world.status(id).await, "error");
    assert!(!world.file("begun").exists());
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_tool_that_breaks_down_breaks_nothing_else() {
    let world = World::new();
    world.provider.script(
        "m",
        [call("terminal", json!({"command": "true"})), call("task_tracker", json!({"command": "view"})), say("done")],
    );
    let folder = world.folder.path().join("fragile");
    let tools = json!([{"name": "terminal"}, {"name": "task_tracker"}]);
    let id = world.create("m", json!({"workspace": {"working_dir": folder}, "agent": {"tools": tools}})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    let frames = watch.until_settled("finished").await;
    let error = frames.iter().find(|frame| frame["kind"] == "AgentErrorEvent").unwrap();
    assert_eq!((&error["tool_name"], &error["classification"]["kind"]), (&json!("terminal"), &json!("internal")));
    assert!(frames.iter().any(|frame| line(frame) == "observation task_tracker"));
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_closed_store_gives_errors_and_no_hang() {
    let world = World::new();
    let id = world.create("m", json!({})).await;
    let _watch = world.watch(id).await;
    world.engine.store().close().await;
    assert!(matches!(world.say(id, "hello", true).await, Err(Error::Store(_))));
    assert!(matches!(world.engine.run(&ann(), id).await, Err(Error::Store(_))));
    assert!(matches!(
        world.engine.create(&ann(), world.request("m", json!({})), Skills::Trimmed).await,
        Err(Error::Store(_))
    ));
    world.engine.shutdown().await;
}

/// Damages an event of a conversation that was left as doing something.
async fn damage(world: World, id: ConversationId, status_of_damaged: &str) -> World {
    let World { folder, provider, engine } = world;
    engine.shutdown().await;
    engine.store().close().await;
    drop(engine);
    let connection = Connection::open(database(folder.path())).unwrap();
    let event = "UPDATE event SET json = '{\"id\": \"x\"}' WHERE seq = 1 AND conversation = \
                 (SELECT number FROM conversation WHERE id = ?1)";
    let status =
        "UPDATE conversation SET status = ?2, progress = json_set(progress, '$.execution_status', ?2) WHERE id = ?1";
    assert_eq!(connection.execute(event, [id.0.as_bytes().as_slice()]).unwrap(), 1);
    assert_eq!(connection.execute(status, params![id.0.as_bytes().as_slice(), status_of_damaged]).unwrap(), 1);
    drop(connection);
    let engine = reopen(folder.path()).await;
    World { folder, provider, engine }
}

#[tokio::test]
async fn a_damaged_event_is_named_and_other_conversations_do_not_care() {
    let world = World::new();
    let damaged = world.create("m", json!({})).await;
    let sound = world.create("m", json!({})).await;
    world.say(damaged, "one", false).await.unwrap();
    world.say(sound, "one", false).await.unwrap();
    let world = damage(world, damaged, "idle").await;
    let refused = world.say(damaged, "two", false).await.unwrap_err();
    let text = format!("{refused}: {refused:?}");
    assert!(text.contains("event 1") && text.contains(&damaged.to_string()), "{text}");
    assert!(world.engine.run(&ann(), damaged).await.is_err());
    assert_eq!(world.engine.in_memory_count(), 0);
    world.say(sound, "two", false).await.unwrap();
    assert_eq!(world.status(damaged).await, "idle", "what is not damaged can be seen");
    world.engine.delete(&ann(), damaged).await.unwrap();
    assert_eq!(world.engine.count(&ann(), None, None).await.unwrap(), 1);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_damaged_conversation_that_claims_to_run_is_still_in_lists() {
    let world = World::new();
    let damaged = world.create("m", json!({})).await;
    world.create("m", json!({})).await;
    world.say(damaged, "one", false).await.unwrap();
    let world = damage(world, damaged, "running").await;
    world.engine.recover().await.unwrap();
    let query = ConversationQuery { limit: 10, ..ConversationQuery::default() };
    assert_eq!(world.engine.list(&ann(), query, Skills::Trimmed).await.unwrap().items.len(), 2);
    assert_eq!(world.status(damaged).await, "running", "nobody knows better");
    world.engine.delete(&ann(), damaged).await.unwrap();
    world.engine.shutdown().await;
}
