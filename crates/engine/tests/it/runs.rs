//! What a run writes and in what order readers see it.

use longshore_testkit::{call, calls, hang, say, status};
use serde_json::json;

use crate::world::{World, ids, lines};

#[tokio::test]
async fn a_run_is_seen_in_the_order_that_clients_rely_on() {
    let world = World::new();
    world.provider.script(
        "m",
        [
            call("terminal", json!({"command": "echo hello-$((40 + 2))"})),
            call("finish", json!({"message": "All done."})),
        ],
    );
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.say(id, "hello", false).await.unwrap();
    world.engine.run(&crate::world::ann(), id).await.unwrap();
    let frames = watch.until_settled("finished").await;
    let expected = [
        "full_state idle",
        "SystemPromptEvent",
        "MessageEvent",
        "state last_user_message_id",
        "status running",
        "state stats",
        "action terminal",
        "observation terminal",
        "state stats",
        "action finish",
        "observation finish",
        "status finished",
        "full_state finished",
    ];
    assert_eq!(lines(&frames), expected);
    let observation = &frames[7]["observation"];
    assert_eq!(observation["content"][0]["text"], "hello-42", "{observation}");
    assert_eq!(observation["exit_code"], 0);
    assert_eq!(ids(&world.events(id).await), ids(&frames), "readers see the log, and nothing that is not in it");
    assert_eq!(world.engine.final_response(&crate::world::ann(), id).await.unwrap(), "All done.");
    let info = world.info(id).await;
    assert_eq!(info["stats"]["usage_to_metrics"]["agent"]["token_usages"].as_array().unwrap().len(), 2);
    assert_eq!(info["execution_status"], "finished");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn events_of_one_conversation_have_growing_times_and_a_chain_of_parents() {
    let world = World::new();
    world.provider.script("m", [calls((0..20).map(|n| ("think", json!({"thought": n.to_string()})))), say("done")]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until_settled("finished").await;
    let events = world.events(id).await;
    let times: Vec<_> = events.iter().map(|event| event["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let mut leaf = None;
    for event in &events {
        assert_eq!(event["parent_id"].as_str(), leaf, "{event}");
        if event["kind"] != "ConversationStateUpdateEvent" {
            leaf = event["id"].as_str();
        }
    }
    world.engine.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_very_short_run_is_shown_twice() {
    let world = World::new();
    world.provider.script("m", [say("short")]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until_settled("finished").await;
    // A client that was told of the run only now still learns that it is over.
    assert_eq!(lines(&watch.until_settled("finished").await), ["full_state finished"]);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn commands_for_one_shell_keep_their_order_whatever_the_limit_is() {
    let world = World::new();
    // Each waits for what the other does, so one after the other they would never end.
    let wait_for = |own: &str, other: &str| {
        let command = format!("touch {own}; until [ -e {other} ]; do sleep 0.05; done; echo {own}");
        ("terminal", json!({"command": command}))
    };
    world.provider.script("m", [calls([wait_for("a", "b"), wait_for("b", "a")]), say("done")]);
    let agent = json!({"agent": {"tool_concurrency_limit": 2, "tools": [{"name": "terminal"}]}});
    let id = world.create("m", agent).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until_action().await;
    // Two commands cannot share one shell, whatever the limit is: they keep their order.
    std::fs::write(world.folder.path().join("work/b"), "").unwrap();
    let frames = watch.until_settled("finished").await;
    let observations: Vec<_> = frames.iter().filter(|frame| frame["kind"] == "ObservationEvent").collect();
    let texts: Vec<_> = observations.iter().map(|it| it["observation"]["content"][0]["text"].clone()).collect();
    assert_eq!(texts, ["a", "b"]);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn the_concurrency_limit_holds_for_tools_that_share_nothing() {
    for (limit, expected) in
        [(1, ["action terminal", "action task_tracker"]), (2, ["action terminal", "action task_tracker"])]
    {
        let world = World::new();
        world.provider.script(
            "m",
            [
                calls([
                    ("terminal", json!({"command": "until [ -e go ]; do sleep 0.05; done; echo one"})),
                    ("task_tracker", json!({"command": "plan", "task_list": [{"title": "t"}]})),
                ]),
                say("done"),
            ],
        );
        let tools = json!([{"name": "terminal"}, {"name": "task_tracker"}]);
        let id = world.create("m", json!({"agent": {"tool_concurrency_limit": limit, "tools": tools}})).await;
        let mut watch = world.watch(id).await;
        world.go(id).await;
        let frames = watch.until(|frame| frame["tool_name"] == "task_tracker").await;
        assert_eq!(lines(&frames[frames.len() - 2..]), expected);
        let list = world.folder.path().join("conversations").join(id.hex()).join("TASKS.json");
        if limit == 2 {
            crate::world::until("the second call has run beside the first", async || list.exists()).await;
        }
        std::fs::write(world.folder.path().join("work/go"), "").unwrap();
        let frames = watch.until_settled("finished").await;
        let results: Vec<_> = lines(&frames).into_iter().filter(|line| line.starts_with("observation")).collect();
        assert_eq!(results, ["observation terminal", "observation task_tracker"]);
        world.engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_failing_model_ends_the_run_with_the_error_before_the_status() {
    let world = World::new();
    world.provider.script("m", [status(401, json!({"error": {"message": "bad key"}})), say("better")]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    let frames = watch.until_settled("error").await;
    assert!(lines(&frames).ends_with(&[
        "ConversationErrorEvent".into(),
        "status error".into(),
        "full_state error".into()
    ]));
    world.engine.run(&crate::world::ann(), id).await.unwrap();
    watch.until_settled("finished").await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_message_during_the_model_call_is_read_before_the_run_ends() {
    let world = World::new();
    world.provider.script("m", [hang(), say("read it")]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    world.provider.wait_for_hanging(1).await;
    world.say(id, "one more thing", true).await.unwrap();
    world.provider.release();
    watch.until_settled("finished").await;
    let requests = world.provider.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].body.to_string().contains("one more thing"));
    world.engine.shutdown().await;
}
