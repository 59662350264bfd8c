//! `longshore demo`.

use rustix::process::Signal;

use crate::support::{Lines, World, code_of, signal};

#[tokio::test]
async fn a_stranger_sees_an_agent_work() {
    let world = World::new();
    let ended = world.run(&["demo", "--no-keep"]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    let moments = [
        "No real model is used",
        "Server: http://127.0.0.1:",
        "$ ls -l && cat story.txt",
        "◐ Write top-words.sh",
        "Created top-words.sh",
        "Created test-top-words.sh",
        "FAILED: expected 7 the, got 4 the",
        "exit code 1",
        "Edited top-words.sh  +1 -1",
        "passed: the stands 7 times",
        "● Make the test pass",
        "with that corrected, it passes.",
        "curl -s -H 'X-Session-API-Key: ",
        "from openhands.sdk import",
        " run \"explain what this project does\"",
    ];
    let mut rest = ended.stdout.as_str();
    for moment in moments {
        let at =
            rest.find(moment).unwrap_or_else(|| panic!("{moment:?} is missing or out of order:\n{}", ended.stdout));
        rest = &rest[at..];
    }
    let left: Vec<_> = std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("longshore-demo-")), "{left:?}");
}

#[tokio::test]
async fn a_kept_server_answers_the_printed_command_until_ctrl_c() {
    let world = World::new();
    let mut child = world.command(&["demo", "--keep"]).spawn().unwrap();
    let mut stdout = Lines::of(child.stdout.take().unwrap());
    let command = stdout.find("curl -s").await;
    stdout.find("until Ctrl-C").await;
    let words: Vec<_> = command.split_whitespace().collect();
    let (key, url) = (words[4].trim_matches('\''), words[5]);
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(url).header("X-Session-API-Key", key);
    let info: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(info["execution_status"], "finished");

    signal(&child, Signal::INT);
    assert_eq!(code_of(&mut child).await, Some(0));
}

#[tokio::test]
async fn the_model_of_the_environment_does_the_task() {
    let world = World::new();
    let provider = longshore_testkit::ScriptedServer::start();
    provider.script("m", [longshore_testkit::say("I would rather not.")]);
    let llm = provider.llm("m");
    let mut command = world.command(&["demo"]);
    command.env("LLM_MODEL", &llm.model).env("LLM_BASE_URL", llm.base_url.unwrap()).env("LLM_API_KEY", "k");
    let ended = crate::support::end_of(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("The model is ") && ended.stdout.contains("I would rather not."), "{}", ended.stdout);
    assert!(!ended.stdout.contains("No real model"), "{}", ended.stdout);
    assert!(provider.requests()[0].body["messages"].to_string().contains("top-words.sh"));
}

#[tokio::test]
async fn a_demo_that_cannot_be_given_fails() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = world.run(&["demo", "--no-keep", "--port", &port]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cannot be listened on"), "{}", ended.stderr);
}
