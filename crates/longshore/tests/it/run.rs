//! `longshore run` without a terminal.

use std::fs;

use longshore_protocol::{Event, EventBody};
use longshore_testkit::{ScriptedServer, call, say};
use serde_json::json;

use crate::support::World;

fn editing(world: &World) -> String {
    let path = world.workspace().join("poem.txt");
    world.model(
        "editing.json",
        &json!([
            {"text": "I look first.", "reasoning": "A folder, probably empty.",
             "tool_calls": [{"name": "terminal", "arguments": {"command": "ls; (exit 3)", "summary": "List files"}}],
             "usage": {"prompt_tokens": 1500, "completion_tokens": 20}},
            {"tool_calls": [{"name": "task_tracker", "arguments": {"command": "plan", "task_list": [
                {"title": "Write", "status": "done"}, {"title": "Improve", "status": "in_progress"}, {"title": "Send"}]}}]},
            {"tool_calls": [{"name": "file_editor", "arguments":
                {"command": "create", "path": path, "file_text": "Roses are red.\nViolets are red.\n"}}]},
            {"tool_calls": [{"name": "file_editor", "arguments": {"command": "view", "path": path, "view_range": [1, 2]}}]},
            {"tool_calls": [{"name": "file_editor", "arguments":
                {"command": "str_replace", "path": path, "old_str": "Violets are red", "new_str": "Violets are blue"}}]},
            {"tool_calls": [{"name": "terminal", "arguments": {"command": "seq 1 100", "summary": "Count"}}]},
            {"tool_calls": [{"name": "finish", "arguments": {"message": "The poem is written.\nIt is short."}}]},
        ]),
    )
}

#[tokio::test]
async fn a_run_shows_what_happens_and_how_to_go_on() {
    let world = World::new();
    let model = editing(&world);
    let ended = world.run(&["run", "--model", &model, "write a poem"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let numbers =
        |range: std::ops::RangeInclusive<u32>| range.map(|number| format!("  {number}")).collect::<Vec<_>>().join("\n");
    let expected = format!(
        "\
scripted/editing.json in /test/workspace

write a poem

A folder, probably empty.
I look first.
$ ls; (exit 3)  # List files
  exit code 3

Plan
  ● Write
  ◐ Improve
  ○ Send

Created poem.txt  +2 -0
  + Roses are red.
  + Violets are red.

Read poem.txt, lines 1 to 2

Edited poem.txt  +1 -1
    Roses are red.
  - Violets are red.
  + Violets are blue.

$ seq 1 100  # Count
{}
  … 70 lines left out …
{}

The poem is written.
It is short.

N s · 1.5k tokens read, 20 written, no known cost
Go on with: longshore run --models-dir /test/models --resume ID
",
        numbers(1..=12),
        numbers(83..=100),
    );
    assert_eq!(world.redacted(&ended.stdout), expected);
    assert_eq!(fs::read_to_string(world.workspace().join("poem.txt")).unwrap(), "Roses are red.\nViolets are blue.\n");
}

#[tokio::test]
async fn json_is_one_stored_event_a_line_and_nothing_else() {
    let world = World::new();
    let model = editing(&world);
    let ended = world.run(&["run", "--json", "--model", &model, "write a poem"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let events: Vec<Event> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| !matches!(event.body, EventBody::Unknown(_))));
    let count = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
    assert_eq!((count("SystemPromptEvent"), count("ActionEvent"), count("ObservationEvent")), (1, 7, 7));
    assert!(!ended.stdout.contains("full_state"));
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.contains(r#""key":"execution_status","value":"finished""#), "{last}");
}

#[tokio::test]
async fn quiet_is_the_answer_and_nothing_else() {
    let world = World::new();
    let model = editing(&world);
    let ended = world.run(&["run", "-q", "--model", &model, "write a poem"]).await;
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(0), "The poem is written.\nIt is short.\n", ""));
}

#[tokio::test]
async fn without_a_model_the_error_says_what_to_set() {
    let world = World::new();
    let ended = world.run(&["run", "do something"]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
    for word in ["LLM_MODEL", "LLM_API_KEY", "--model", "longshore demo"] {
        assert!(ended.stderr.contains(word), "{} does not say {word}", ended.stderr);
    }
    assert_eq!(world.runs(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn the_model_of_the_environment_gets_the_task_the_tools_and_the_projects_notes() {
    let world = World::new();
    fs::write(world.workspace().join("AGENTS.md"), "Always say please.").unwrap();
    let provider = ScriptedServer::start();
    provider.script("m", [call("terminal", json!({"command": "env"})), say("Done.")]);
    let llm = provider.llm("m");
    let key = "a-key-that-nobody-may-see";
    let mut command = world.command(&["run", "look around"]);
    command.env("LLM_MODEL", &llm.model).env("LLM_BASE_URL", llm.base_url.unwrap()).env("LLM_API_KEY", key);
    let ended = crate::support::end_of(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\nDone.\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains(key), "commands see the key");

    let requests = provider.requests();
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {key}"));
    let body = &requests[0].body;
    let messages = body["messages"].to_string();
    assert!(messages.contains("look around") && messages.contains("Always say please."), "{messages}");
    let tools: Vec<_> =
        body["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["terminal", "file_editor", "task_tracker", "finish", "think"]);

    // Neither the log nor any other file of the run has the key in it.
    for run in world.runs() {
        for entry in fs::read_dir(run).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn two_runs_in_one_folder_do_not_meet() {
    let world = World::new();
    // Each command ends only when the other run's command has begun.
    let wait = |mine: &str, other: &str| {
        json!([
            {"tool_calls": [{"name": "terminal", "arguments":
                {"command": format!("touch {mine}; until [ -e {other} ]; do sleep 0.05; done; echo met"), "timeout": 60}}]},
            {"text": format!("I am {mine}.")},
        ])
    };
    let (one, two) = (world.model("one.json", &wait("one", "two")), world.model("two.json", &wait("two", "one")));
    let [one, two] = [&one, &two].map(|model| ["run", "--model", model, "x"]);
    let (first, second) = tokio::join!(world.run(&one), world.run(&two));
    assert!(first.code == Some(0) && first.stdout.contains("I am one."), "{first:?}");
    assert!(second.code == Some(0) && second.stdout.contains("I am two."), "{second:?}");
    assert_eq!(world.runs().len(), 2);
}

#[tokio::test]
async fn actions_that_nobody_can_confirm_end_the_run_and_can_be_let_through_later() {
    let world = World::new();
    let model = world.model(
        "risky.json",
        &json!([
            {"tool_calls": [{"name": "terminal", "arguments":
                {"command": "touch done", "summary": "Make a file", "security_risk": "HIGH"}}]},
            {"text": "It is done."},
        ]),
    );
    let ended = world.run(&["run", "--confirm", "risky", "--model", &model, "x"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("of high risk:\n$ touch done  # Make a file\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--resume --confirm never"), "{}", ended.stderr);
    assert!(!world.workspace().join("done").exists());

    let ended = world.run(&["run", "--resume"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let ended = world.run(&["run", "--resume", "--confirm", "never"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("Actions wait for your answer.") && ended.stdout.contains("It is done."),
        "{ended:?}"
    );
    assert!(world.workspace().join("done").exists());
}

#[tokio::test]
async fn exit_codes_tell_a_failure_from_an_agent_that_is_not_done() {
    let world = World::new();
    let failing = world.model("failing.json", &json!([{"error": {"status": 401, "message": "who are you?"}}]));
    let ended = world.run(&["run", "--model", &failing, "x"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("LLMAuthenticationError") && ended.stdout.contains("its key"), "{}", ended.stdout);

    let think = json!([{"tool_calls": [{"name": "think", "arguments": {"thought": "hm"}}], "repeat": true}]);
    let endless = world.model("endless.json", &think);
    let ended = world.run(&["run", "--max-iterations", "2", "--model", &endless, "x"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("--max-iterations"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_task_comes_from_standard_input() {
    use tokio::io::AsyncWriteExt as _;
    let world = World::new();
    let model = world.model("ok.json", &json!([{"text": "Understood."}]));
    for arguments in [vec!["run", "--model", &*model], vec!["run", "--model", &*model, "-"]] {
        let mut command = world.command(&arguments);
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all("a task\nof two lines".as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && stdout.contains("\na task\nof two lines\n\nUnderstood.\n"), "{stdout}");
    }
    let ended = world.run(&["run", "--model", &model]).await;
    assert_eq!(ended.code, Some(2), "an empty task");
}

#[tokio::test]
async fn wrong_command_lines_say_what_is_wrong() {
    let world = World::new();
    let model = world.model("ok.json", &json!([{"text": "Understood."}]));
    for (arguments, words) in [
        (vec!["run", "--model", &*model, "-C", "nowhere", "x"], "nowhere"),
        (vec!["run", "--resume", "cafe"], "there is no run cafe"),
        (vec!["run", "--resume"], "no earlier run"),
        (vec!["run", "--resume", "fix it"], "put the task first"),
        (vec!["run", "--model", "m", "--api-key-env", "NOT_SET", "x"], "NOT_SET is not set"),
        (vec!["run", "--json", "--quiet", "x"], "cannot be used with"),
    ] {
        let ended = world.run(&arguments).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}
