//! A server that dies without a word, and the one after it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use longshore_engine::Skills;
use longshore_protocol::ConversationId;
use longshore_store::ConversationQuery;
use longshore_testkit::{ScriptedServer, call, say};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{World, ann, message, open, reopen, request, until};

const FOLDER: &str = "LONGSHORE_TEST_FOLDER";
const PROVIDER: &str = "LONGSHORE_TEST_PROVIDER";
const PAUSES: &str = "LONGSHORE_TEST_PAUSES";
const ID: &str = "11111111-2222-3333-4444-555555555555";

/// The server that dies: does nothing unless the tests below start it as a process of its own.
#[tokio::test]
async fn victim() {
    let (Some(folder), Some(provider)) = (env::var_os(FOLDER).map(PathBuf::from), env::var(PROVIDER).ok()) else {
        return;
    };
    let engine = open(&folder, |_| ());
    let id: ConversationId = ID.parse().unwrap();
    let wish = request(&provider, &folder, "m", json!({"conversation_id": ID}));
    engine.create(&ann(), wish, Skills::Trimmed).await.unwrap();
    engine.send(&ann(), id, message("go", true)).await.unwrap();
    let started = folder.join("work/started");
    until("the command has begun", async || started.exists()).await;
    if env::var_os(PAUSES).is_some() {
        engine.pause(&ann(), id).await.unwrap();
    }
    fs::write(folder.join("ready"), "").unwrap();
    // Killed long before; if the tests are killed themselves, this ends alone.
    tokio::time::sleep(Duration::from_mins(1)).await;
}

/// Starts a server, kills it while a command runs, and opens what it left.
async fn crashed(pauses: bool) -> World {
    let folder = Arc::new(TempDir::new().unwrap());
    let provider = Arc::new(ScriptedServer::start());
    provider.script("m", [call("terminal", json!({"command": "echo x >> ran.txt; touch started; sleep 20"}))]);
    let mut process = start(folder.path(), &provider.url(), pauses);
    let ready = folder.path().join("ready");
    until("the server is at work", async || ready.exists() || process.try_wait().unwrap().is_some()).await;
    assert!(process.try_wait().unwrap().is_none(), "the server ended too early");
    process.kill().unwrap();
    process.wait().unwrap();
    let engine = reopen(folder.path()).await;
    World { folder, provider, engine }
}

fn start(folder: &Path, provider: &str, pauses: bool) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "crash::victim", "--nocapture"]).env(FOLDER, folder).env(PROVIDER, provider);
    if pauses {
        command.env(PAUSES, "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn the_next_server_says_that_the_run_was_cut_off() {
    let world = crashed(false).await;
    let id: ConversationId = ID.parse().unwrap();
    world.engine.recover().await.unwrap();
    assert_eq!(world.status(id).await, "error");
    let log = world.log(id).await;
    assert!(log.ends_with(&["action terminal".into(), "AgentErrorEvent".into(), "status error".into()]), "{log:?}");
    let events = world.events(id).await;
    assert_eq!(events[events.len() - 2]["tool_call_id"], events[events.len() - 3]["tool_call_id"]);

    world.provider.script("m", [call("terminal", json!({"command": "cat ran.txt"})), say("done")]);
    let mut watch = world.watch(id).await;
    world.engine.run(&ann(), id).await.unwrap();
    let frames = watch.until_settled("finished").await;
    let output = frames.iter().find(|frame| frame["kind"] == "ObservationEvent").unwrap();
    assert_eq!(output["observation"]["content"][0]["text"], "x", "the command was not run again");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn whoever_asks_before_the_recovery_is_told_the_truth_too() {
    let world = crashed(false).await;
    let query = ConversationQuery { limit: 10, ..ConversationQuery::default() };
    let list = world.engine.list(&ann(), query, Skills::Trimmed).await.unwrap();
    let info: Value = serde_json::from_slice(&list.items[0].0).unwrap();
    assert_eq!(info["execution_status"], "error");
    assert_eq!(world.status(ID.parse().unwrap()).await, "error");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_action_that_was_under_way_when_the_user_paused_is_not_done_twice() {
    let world = crashed(true).await;
    let id: ConversationId = ID.parse().unwrap();
    world.engine.recover().await.unwrap();
    assert_eq!(world.status(id).await, "paused");
    world.provider.script("m", [say("done")]);
    let mut watch = world.watch(id).await;
    world.engine.run(&ann(), id).await.unwrap();
    watch.until_settled("finished").await;
    assert_eq!(fs::read_to_string(world.file("ran.txt")).unwrap(), "x\n");
    let log = world.log(id).await;
    assert_eq!(log.iter().filter(|line| *line == "AgentErrorEvent").count(), 1, "{log:?}");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_message_that_was_acknowledged_survives() {
    let folder = Arc::new(TempDir::new().unwrap());
    let provider = Arc::new(ScriptedServer::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (path, url) = (folder.path().to_owned(), provider.url());
    let id: ConversationId = ID.parse().unwrap();
    let said = runtime.spawn(async move {
        let engine = open(&path, |_| ());
        let wish = request(&url, &path, "m", json!({"conversation_id": ID}));
        engine.create(&ann(), wish, Skills::Trimmed).await.unwrap();
        for number in 0..20 {
            engine.send(&ann(), id, message(&number.to_string(), false)).await.unwrap();
        }
    });
    said.await.unwrap();
    // All tasks are gone at once, in the middle of whatever they do.
    runtime.shutdown_background();
    let engine = reopen(folder.path()).await;
    let world = World { folder, provider, engine };
    let log = world.log(id).await;
    assert_eq!(log.iter().filter(|line| *line == "MessageEvent").count(), 20);
    world.engine.shutdown().await;
}
