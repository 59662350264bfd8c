//! `longshore serve`.

use std::{os::unix::fs::symlink, process::Stdio};

use longshore_testkit::{ScriptedServer, say};
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
    pub(crate) log: Lines<ChildStderr>,
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
async fn the_configuration_says_which_addresses_are_asked_for_users() {
    let world = World::new();
    let provider = ScriptedServer::start();
    provider.script("m", [say("hello"), say("hello")]);
    let config = world.path().join("outbound.toml");
    let mut key = String::new();
    for (outbound, has_users, says) in [
        ("", false, None),
        ("[outbound]\ndeny = ['127.0.0.0/8']\n", false, Some("deny in [outbound]")),
        // With users it is closed, unless the operator opens it.
        ("", true, Some("a loopback address")),
        ("[outbound]\nallow = ['127.0.0.1']\n", true, None),
    ] {
        if has_users && key.is_empty() {
            assert_eq!(world.run(&["user", "add", "ann"]).await.code, Some(0));
            world.run(&["key", "create", "--user", "ann"]).await.stdout.trim().clone_into(&mut key);
        }
        std::fs::write(&config, outbound).unwrap();
        let mut command = world.command(&["serve", "--port", "0", "--host", "127.0.0.1", "--insecure-shared-machine"]);
        // The variable means nothing to requests for users.
        command.env("LONGSHORE_CONFIG", &config).env("HTTP_PROXY", "http://127.0.0.1:9");
        let mut server = Server::start(command).await;
        let ask = async |request: reqwest::RequestBuilder| {
            let response = request.header("X-Session-API-Key", &key).send().await.unwrap();
            response.error_for_status().unwrap().json::<Value>().await.unwrap()
        };
        let conversation = json!({
            "agent": {"kind": "Agent", "llm": provider.llm("m"), "tools": []},
            "workspace": {"working_dir": world.workspace()},
            "initial_message": {"content": [{"type": "text", "text": "hi"}]},
        });
        let url = format!("{}/api/conversations", server.url);
        let created = ask(client().post(&url).json(&conversation)).await;
        let url = format!("{url}/{}", created["id"].as_str().unwrap());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let status = loop {
            let status = ask(client().get(&url)).await["execution_status"].clone();
            if status != "running" && status != "idle" {
                break status;
            }
            assert!(tokio::time::Instant::now() < deadline, "the run does not end");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let events = ask(client().get(format!("{url}/events/search"))).await.to_string();
        assert_eq!(status, if says.is_some() { "error" } else { "finished" }, "{events}");
        assert!(says.is_none_or(|text| events.contains(text)), "{events}");
        signal(&server.child, Signal::TERM);
        assert_eq!(code_of(&mut server.child).await, Some(0));
    }
    assert_eq!(provider.requests().len(), 2);
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
