//! Commands in a workspace.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{World, own};
use crate::server::{is_running, until};

#[tokio::test]
async fn a_command_answers_with_what_it_wrote_and_how_it_ended() {
    let world = World::start().await;
    let path = format!("{}/execute", own("ann"));
    let run = async |wish: Value| world.post("ann", &path, wish).await;
    let command = "read line; echo \"$line $NAME\"; echo err >&2; pwd; exit 3";
    std::fs::create_dir(world.0.folder.join("sub")).unwrap();
    let (status, output) =
        run(json!({"command": command, "cwd": "sub", "env": {"NAME": "value"}, "stdin": "input\nrest"})).await;
    let expected = json!({
        "exit_code": 3, "stdout": format!("input value\n{}\n", world.0.path("sub")), "stderr": "err\n",
        "timeout_occurred": false, "stdout_truncated": false, "stderr_truncated": false,
    });
    assert_eq!((status, output), (StatusCode::OK, expected));
    let (_, output) = run(json!({"command": "kill -9 $$"})).await;
    assert_eq!(output["exit_code"], -9);
    // A program that does not read its input is not held up by it.
    let (_, output) = run(json!({"command": "true", "stdin": "x".repeat(1 << 20)})).await;
    assert_eq!(output["exit_code"], 0);
    world.0.stop().await;
}

#[tokio::test]
async fn a_command_whose_time_is_over_ends_with_all_that_it_started() {
    let world = World::start().await;
    let wish = json!({"command": "echo begun; (sleep 7311 & sleep 7312); true", "timeout": 1});
    let (status, output) = world.post("ann", &format!("{}/execute", own("ann")), wish).await;
    assert_eq!(status, StatusCode::OK, "{output}");
    assert_eq!((&output["exit_code"], &output["timeout_occurred"]), (&json!(-1), &json!(true)));
    assert_eq!(output["stdout"], "begun\n");
    until(async || (!is_running("sleep 731")).then_some(())).await;
    // The workspace's own limit is told in the same way.
    let limited = json!({"timeout": 1, "working_dir": world.0.path("limited")});
    let (_, info) = world.post("ann", "/workspaces", limited).await;
    let path = format!("/workspaces/{}/execute", info["id"].as_str().unwrap());
    let (_, output) = world.post("ann", &path, json!({"command": "sleep 7313"})).await;
    assert_eq!((&output["exit_code"], &output["timeout_occurred"]), (&json!(-1), &json!(true)), "{output}");
    world.0.stop().await;
}

#[tokio::test]
async fn output_is_cut_and_says_so() {
    let world = World::start().await;
    let wish = json!({"command": "head -c 1048576 /dev/zero | tr '\\0' x; head -c 1048577 /dev/zero | tr '\\0' y >&2"});
    let (_, output) = world.post("ann", &format!("{}/execute", own("ann")), wish).await;
    assert_eq!((&output["stdout_truncated"], &output["stderr_truncated"]), (&json!(false), &json!(true)));
    assert_eq!(output["stdout"].as_str().unwrap(), "x".repeat(1 << 20));
    assert_eq!(output["stderr"].as_str().unwrap(), "y".repeat(1 << 20));
    world.0.stop().await;
}

#[tokio::test]
async fn a_command_ends_when_the_client_goes_away() {
    let world = World::start().await;
    let path = format!("{}/execute", own("ann"));
    let request = world.request("ann", reqwest::Method::POST, &path).json(&json!({"command": "sleep 7314"}));
    let waiting = tokio::spawn(request.send());
    until(async || is_running("sleep 7314").then_some(())).await;
    waiting.abort();
    until(async || (!is_running("sleep 7314")).then_some(())).await;
    world.0.stop().await;
}

#[tokio::test]
async fn commands_that_make_no_sense_are_refused() {
    let world = World::start().await;
    for wish in [
        json!({}),
        json!({"command": 1}),
        json!({"command": "true", "timeout": 0}),
        json!({"command": "true", "timeout": 86401}),
        json!({"command": "true", "env": {"": "x"}}),
        json!({"command": "true", "env": {"A": "\u{0}"}}),
        json!({"command": "\u{0}"}),
        json!({"command": "true", "cwd": "not/there"}),
        json!({"command": "true", "unknown": true}),
    ] {
        let (status, body) = world.post("ann", &format!("{}/execute", own("ann")), wish.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wish}: {body}");
    }
    world.0.stop().await;
}
