//! `longshore doctor`, and runs in boxes.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Ended, World};

/// Whether boxes of bubblewrap can be made; a test that must not be skipped fails instead.
async fn has_boxes(world: &World) -> bool {
    let examined = examine(world).await;
    let kind = examined["backends"].as_array().unwrap().iter().find(|kind| kind["name"] == "bubblewrap").unwrap();
    let works = kind["works"] == true;
    assert!(works || std::env::var_os("LONGSHORE_REQUIRE_ROOT").is_none(), "no boxes here: {kind}");
    if !works {
        println!("skipped: this machine makes no boxes of bubblewrap");
    }
    works
}

async fn examine(world: &World) -> Value {
    let Ended { stdout, stderr, .. } = world.run(&["doctor", "--json"]).await;
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

#[tokio::test]
async fn the_doctor_tells_people_and_scripts_the_same() {
    let world = World::new();
    let examined = examine(&world).await;
    let told = world.run(&["doctor"]).await;
    assert_eq!((told.code, &*told.stderr), (Some(0), ""));
    assert!(!told.stdout.contains('\x1b'), "colours are for terminals");
    let backends = examined["backends"].as_array().unwrap();
    assert_eq!(backends.iter().map(|kind| &kind["name"]).collect::<Vec<_>>(), ["local", "bubblewrap", "docker"]);
    for finding in backends.iter().flat_map(|kind| kind["findings"].as_array().unwrap()) {
        assert!(told.stdout.contains(finding["subject"].as_str().unwrap()), "{finding}");
        let needs_advice = finding["level"] != "ok";
        assert_eq!(finding["advice"].is_string(), needs_advice, "{finding}");
    }
    let used = examined["used"].as_str().unwrap();
    assert!(told.stdout.ends_with(&format!("uses: {used}\n")), "{}", told.stdout);
}

#[tokio::test]
async fn the_doctor_says_by_its_exit_code_that_what_is_asked_for_does_not_work() {
    let world = World::new();
    let mut command = world.command(&["doctor", "--json", "--sandbox", "docker:busybox"]);
    command.env("DOCKER_HOST", format!("unix://{}/none.sock", world.path().display()));
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let examined: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(examined["used"], Value::Null);
    let docker = &examined["backends"][2];
    assert_eq!(docker["works"], false);
    assert!(docker["findings"][0]["detail"].as_str().unwrap().contains("none.sock"), "{docker}");
}

#[tokio::test]
async fn a_run_in_a_box_sees_its_folder_and_nothing_else_and_leaves_nothing() {
    let world = World::new();
    if !has_boxes(&world).await {
        return;
    }
    fs::write(world.workspace().join("given.txt"), "given\n").unwrap();
    fs::write(world.path().join("secret.txt"), "s3cr3t\n").unwrap();
    let look = format!("pwd; cat given.txt; cat {}; echo made > made.txt", world.path().join("secret.txt").display());
    let model = world.model(
        "boxed.json",
        &json!([
            {"tool_calls": [{"name": "terminal", "arguments": {"command": look}}]},
            {"tool_calls": [{"name": "finish", "arguments": {"message": "done"}}]},
            {"tool_calls": [{"name": "terminal", "arguments": {"command": "cat made.txt"}}]},
            {"tool_calls": [{"name": "finish", "arguments": {"message": "done again"}}]},
        ]),
    );
    let ended = world.run(&["run", "--sandbox", "bubblewrap", "--model", &model, "look around"]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("/workspace in a box of bubblewrap"), "{}", ended.stdout);
    assert!(ended.stdout.contains("  /workspace\n  given\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("No such file or directory") && !ended.stdout.contains("s3cr3t"), "{}", ended.stdout);
    assert_eq!(fs::read_to_string(world.workspace().join("made.txt")).unwrap(), "made\n");
    let boxes = fs::read_dir(world.runs()[0].join("boxes")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = boxes.filter(|name| name.len() == 32).collect();
    assert!(left.is_empty(), "{left:?}");

    let again = world.run(&["run", "--resume", "--confirm", "never", "go on"]).await;
    assert!(again.stdout.contains("  made\n"), "{}{}", again.stdout, again.stderr);
    let elsewhere = world.run(&["run", "--resume", "--sandbox", "docker:x", "go on"]).await;
    assert_eq!(elsewhere.code, Some(2));
    assert!(elsewhere.stderr.contains("leave --sandbox out"), "{}", elsewhere.stderr);
}
