//! The examples of docs/native-api.md, as they stand there.

use std::process::Stdio;

use longshore_testkit::say;
use tokio::process::Command;

use super::World;
use crate::server::PATIENCE;

#[tokio::test]
async fn the_examples_of_the_page_work() {
    let world = World::start().await;
    world.0.provider().respond("m", |_| say("hello from the agent"));
    let page = include_str!("../../../../../docs/native-api.md");
    let examples: Vec<_> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 5, "only {} examples", examples.len());
    let script = format!("set -euo pipefail\n{}", examples.concat());
    let child = Command::new("bash")
        .args(["-c", &script])
        .env("LONGSHORE_SERVER", world.0.url(""))
        .env("LONGSHORE_KEY", "ann")
        .env("LONGSHORE_LLM", world.llm("m").to_string())
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(PATIENCE * 2, child.wait_with_output()).await.unwrap().unwrap();
    let (shown, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for expected in ["\"hello\\nworld\"", "from a script", "\"kind\": \"directory\"", "agent: hello from the agent"] {
        assert!(shown.contains(expected), "{expected} is not in:\n{shown}\n{complaint}");
    }
    world.0.stop().await;
}
