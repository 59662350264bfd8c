//! `longshore serve`.

use std::{os::unix::fs::symlink, process::Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::{Child, ChildStderr, Command};

use crate::{
    processes::{sleeps, unique_seconds},
    support::{Lines, PATIENCE, PROGRAM, World, code_of, end_of, signal, until},
};

/// A server that is ready.
pub(crate) struct Server {
    pub(crate) child: Child,
    log: Lines<ChildStderr>,
    pub(crate) url: String,
}

impl Server {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut log = Lines::of(child.stderr.take().unwrap());
        let line: Value = serde_json::from_str(&log.find("Longshore serves").await).unwrap();
        let url = format!("http://{}", line["address"].as_str().unwrap());
        Self { child, log, url }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = client().post(format!("{}{path}", self.url)).json(&body);
        let response = request.send().await.unwrap().error_for_status().unwrap();
        response.json().await.unwrap()
    }

    async fn is_healthy(&self) -> bool {
        let answer = client().get(format!("{}/health", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

#[tokio::test]
async fn under_the_official_name_the_program_is_a_server() {
    let world = World::new();
    let link = world.path().join("agent-server");
    symlink(PROGRAM, &link).unwrap();
    let mut command = Command::new(link);
    command.args(["--port", "0", "--workers", "4"]).env_clear().envs(world.variables());
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut server = Server::start(command).await;
    assert!(server.is_healthy().await);
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
}

#[tokio::test]
async fn nobody_else_is_let_in_without_a_key() {
    let world = World::new();
    let ended = world.run(&["serve", "--host", "0.0.0.0", "--port", "0"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("SESSION_API_KEY"), "{}", ended.stderr);
    assert!(!world.data().exists());
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let world = World::new();
    let mut first = Server::start(world.command(&["serve", "--port", "0"])).await;
    let ended = world.run(&["serve", "--port", "0"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("in use by another Longshore"), "{}", ended.stderr);
    assert!(first.is_healthy().await);
    signal(&first.child, Signal::TERM);
    assert_eq!(code_of(&mut first.child).await, Some(0));
}

#[tokio::test]
async fn sigterm_during_a_command_leaves_no_child() {
    let world = World::new();
    let seconds = unique_seconds();
    let turns = json!([{"tool_calls": [{"name": "terminal", "arguments":
        {"command": format!("setsid -w sleep {seconds}"), "timeout": 400}}]}, {"text": "x"}]);
    let model = world.model("sleep.json", &turns);
    let mut server = Server::start(world.command(&["serve", "--port", "0"])).await;
    let message = json!({"content": [{"type": "text", "text": "sleep"}]});
    let conversation = json!({
        "agent": {"kind": "Agent", "llm": {"model": model}, "tools": [{"name": "terminal"}]},
        "workspace": {"working_dir": world.workspace()}, "initial_message": message,
    });
    server.post("/api/conversations", conversation).await;
    until("the command", || sleeps(&seconds)).await;
    let begun = std::time::Instant::now();
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
    // Two seconds are promised; a busy machine gets some more. The command would take minutes.
    assert!(begun.elapsed().as_secs() < 6, "{:?}", begun.elapsed());
    until("the end of the command", || !sleeps(&seconds)).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_stall_the_server() {
    let world = World::new();
    let mut command = world.command(&["serve", "--port", "0"]);
    command.env("LOG_LEVEL", "trace");
    let mut server = Server::start(command).await;
    // Nobody reads the log from here on: its pipe is full after a few hundred requests.
    let client = client();
    let requests = 800;
    for _ in 0..requests {
        let request = client.get(format!("{}/api/conversations/not-an-id", server.url));
        assert!(request.send().await.is_ok());
    }
    assert!(server.is_healthy().await);
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
    let log = server.log.rest().await;
    let logged = log.matches("not-an-id").count();
    assert!(logged < requests, "the log's pipe was never full, so nothing was tested");
}

#[tokio::test]
async fn a_program_that_is_called_wrongly_ends_with_2() {
    let world = World::new();
    for arguments in [vec!["serve", "--port", "x"], vec!["nonsense"]] {
        assert_eq!(end_of(world.command(&arguments)).await.code, Some(2));
    }
}
