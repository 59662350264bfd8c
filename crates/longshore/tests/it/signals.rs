//! Ctrl-C and SIGTERM during `longshore run`.

use rustix::process::Signal;
use serde_json::json;
use tokio::process::Child;

use crate::{
    processes::{sleeps, unique_seconds},
    support::{Lines, World, code_of, signal, touch, until},
};

/// Starts a command in a session of its own, where the end of the shell's terminal does not reach it.
const APART: &str = "setsid -w";

/// A run whose command sleeps for a very long time, and the time. `launcher` is what starts the sleep.
async fn sleeping(world: &World, launcher: &str) -> (Child, String) {
    let seconds = unique_seconds();
    let command = format!("{launcher} sleep {seconds}");
    let turns = json!([
        {"tool_calls": [{"name": "terminal", "arguments": {"command": command, "timeout": 400}}]},
        {"text": "I did not sleep well."},
    ]);
    let model = world.model("sleep.json", &turns);
    let child = world.command(&["run", "--model", &model, "sleep"]).spawn().unwrap();
    until("the command", || sleeps(&seconds)).await;
    (child, seconds)
}

#[tokio::test]
async fn ctrl_c_pauses_after_the_step_and_resume_goes_on() {
    let world = World::new();
    let turns = json!([
        {"tool_calls": [{"name": "terminal", "arguments":
            {"command": "touch begun; until [ -e go ]; do sleep 0.05; done; echo went", "timeout": 60}}]},
        {"text": "All done."},
    ]);
    let model = world.model("waits.json", &turns);
    let mut child = world.command(&["run", "--model", &model, "wait"]).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    until("the command", || world.workspace().join("begun").exists()).await;
    signal(&child, Signal::INT);
    let mut stderr = Lines::of(stderr);
    stderr.find("Pausing after this step").await;
    touch(&world.workspace().join("go"));
    assert_eq!(code_of(&mut child).await, Some(130));
    let shown = Lines::of(stdout).rest().await;
    assert!(shown.contains("  went\n") && !shown.contains("All done."), "{shown}");
    assert!(world.redacted(&shown).contains("--resume ID\n"), "{shown}");

    let ended = world.run(&["run", "--resume"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("The agent was paused.") && ended.stdout.contains("All done."), "{}", ended.stdout);
}

#[tokio::test]
async fn a_second_ctrl_c_stops_the_command_at_once() {
    let world = World::new();
    let (mut child, seconds) = sleeping(&world, "").await;
    let mut stderr = Lines::of(child.stderr.take().unwrap());
    signal(&child, Signal::INT);
    stderr.find("Pausing after this step").await;
    assert!(sleeps(&seconds), "the first Ctrl-C ended the command");
    signal(&child, Signal::INT);
    assert_eq!(code_of(&mut child).await, Some(130));
    until("the end of the command", || !sleeps(&seconds)).await;

    let ended = world.run(&["run", "--resume"]).await;
    assert!(ended.code == Some(0) && ended.stdout.contains("I did not sleep well."), "{ended:?}");
}

#[tokio::test]
async fn ctrl_c_while_the_model_thinks_keeps_its_answer() {
    let world = World::new();
    let provider = longshore_testkit::ScriptedServer::start();
    let call = longshore_testkit::call("terminal", json!({"command": "touch done"}));
    provider.script("m", [call.delay(std::time::Duration::from_secs(2)), longshore_testkit::say("All done.")]);
    let llm = provider.llm("m");
    let mut command = world.command(&["run", "think"]);
    command.env("LLM_MODEL", &llm.model).env("LLM_BASE_URL", llm.base_url.unwrap()).env("LLM_API_KEY", "k");
    let mut child = command.spawn().unwrap();
    provider.wait_for_requests(1).await;
    signal(&child, Signal::INT);
    assert_eq!(code_of(&mut child).await, Some(130));
    assert!(!world.workspace().join("done").exists());

    let ended = world.run(&["run", "--resume"]).await;
    assert!(ended.code == Some(0) && ended.stdout.contains("All done."), "{ended:?}");
    assert!(world.workspace().join("done").exists());
    assert_eq!(provider.requests().len(), 2, "the first answer was asked for again");
}

#[tokio::test]
async fn sigterm_ends_the_run_and_its_command() {
    let world = World::new();
    let (mut child, seconds) = sleeping(&world, APART).await;
    signal(&child, Signal::TERM);
    assert_eq!(code_of(&mut child).await, Some(143));
    until("the end of the command", || !sleeps(&seconds)).await;
}

#[tokio::test]
async fn a_killed_run_takes_its_command_along_and_can_go_on() {
    let world = World::new();
    let (mut child, seconds) = sleeping(&world, APART).await;
    child.kill().await.unwrap();
    until("the end of the command", || !sleeps(&seconds)).await;

    let ended = world.run(&["run", "--resume"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("The last run failed.") && ended.stdout.contains("I did not sleep well."),
        "{ended:?}"
    );
}
