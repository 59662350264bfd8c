//! Commands over REST.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{TestServer, answer, is_running, until};

impl TestServer {
    pub(crate) async fn execute(&self, body: Value) -> Value {
        let (status, output) = answer(self.post("/api/bash/execute_bash_command").json(&body)).await;
        assert_eq!(status, StatusCode::OK, "{output}");
        output
    }

    pub(crate) async fn start_command(&self, body: Value) -> String {
        let (status, command) = answer(self.post("/api/bash/start_bash_command").json(&body)).await;
        assert_eq!(status, StatusCode::OK, "{command}");
        command["id"].as_str().unwrap().to_owned()
    }

    /// The outputs of a command, as the official client asks for them.
    pub(crate) async fn outputs(&self, id: &str, after: i64) -> Vec<Value> {
        let path = format!(
            "/api/bash/bash_events/search?kind__eq=BashOutput&sort_order=TIMESTAMP&limit=100&command_id__eq={id}\
             &order__gt={after}"
        );
        let (status, page) = answer(self.get(&path)).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().unwrap().clone()
    }

    pub(crate) async fn last_output(&self, id: &str) -> Value {
        until(async || self.outputs(id, -1).await.pop().filter(|output| !output["exit_code"].is_null())).await
    }

    pub(crate) async fn stop_command(&self, id: &str) -> (StatusCode, Value) {
        answer(self.post(&format!("/api/bash/bash_commands/{id}/stop"))).await
    }
}

#[tokio::test]
async fn a_command_answers_with_what_it_wrote_and_how_it_ended() {
    let server = TestServer::start().await;
    let bytes = json!({"command": r"printf '\377\376 bin' "});
    for (request, code, stdout, stderr) in [
        (json!({"command": "echo out; echo err >&2; exit 3"}), 3, json!("out\n"), json!("err\n")),
        (json!({"command": "true"}), 0, Value::Null, Value::Null),
        (json!({"command": "kill -9 $$"}), -9, Value::Null, Value::Null),
        (json!({"command": "pwd", "cwd": "/tmp"}), 0, json!("/tmp\n"), Value::Null),
        (json!({"command": "pwd"}), 0, json!(format!("{}\n", server.folder.display())), Value::Null),
        (json!({"command": "cat"}), 0, Value::Null, Value::Null),
        (bytes, 0, json!("\u{fffd}\u{fffd} bin"), Value::Null),
    ] {
        let output = server.execute(request.clone()).await;
        assert_eq!(
            (&output["exit_code"], &output["stdout"], &output["stderr"]),
            (&json!(code), &stdout, &stderr),
            "{request}"
        );
        assert_eq!((&output["order"], &output["kind"]), (&json!(0), &json!("BashOutput")));
    }
    let missing = server.execute(json!({"command": "true", "cwd": "/nonexistent"})).await;
    assert_eq!((&missing["exit_code"], &missing["stdout"]), (&json!(-1), &Value::Null));
    assert!(missing["stderr"].as_str().unwrap().contains("/nonexistent"), "{missing}");
    server.stop().await;
}

#[tokio::test]
async fn a_short_command_has_exactly_one_output() {
    let server = TestServer::start().await;
    let commands = (0..20).map(|number| server.start_command(json!({"command": format!("echo {number}; echo x >&2")})));
    for (number, id) in join_all(commands).await.into_iter().enumerate() {
        server.last_output(&id).await;
        let outputs = server.outputs(&id, -1).await;
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        assert_eq!((&outputs[0]["stdout"], &outputs[0]["stderr"]), (&json!(format!("{number}\n")), &json!("x\n")));
    }
    server.stop().await;
}

/// W13: the official server shows nothing before the end.
#[tokio::test]
async fn output_is_seen_before_the_end() {
    let server = TestServer::start().await;
    let gate = server.path("gate");
    let command = format!("echo first; until [ -e {gate} ]; do sleep 0.02; done; echo second >&2");
    let id = server.start_command(json!({"command": command})).await;
    let seen = until(async || server.outputs(&id, -1).await.into_iter().next()).await;
    assert_eq!((&seen["stdout"], &seen["exit_code"], &seen["order"]), (&json!("first\n"), &Value::Null, &json!(0)));
    std::fs::write(gate, "").unwrap();
    let last = server.last_output(&id).await;
    assert_eq!((&last["stdout"], &last["stderr"], &last["order"]), (&Value::Null, &json!("second\n"), &json!(1)));
    assert_eq!(server.outputs(&id, 0).await, [last]);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_makes_few_events_and_loses_nothing() {
    let server = TestServer::start().await;
    // A character of two bytes at odd places: every boundary of a read or an event may fall into one.
    let command = "printf x; yes é | head -c 5242878 | tr -d '\\n'; printf '€' >&2";
    let output = server.execute(json!({"command": command, "timeout": 60})).await;
    let stdout = output["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("xéé") && !stdout.contains('\u{fffd}'), "characters were cut");
    assert_eq!(stdout.len(), 1 + 5_242_878 / 3 * 2);
    assert_eq!(output["stderr"], "€");
    let outputs = server.outputs(output["command_id"].as_str().unwrap(), -1).await;
    assert!(outputs.len() <= 50, "{} events", outputs.len());
    let orders: Vec<_> = outputs.iter().map(|output| output["order"].as_u64().unwrap()).collect();
    assert_eq!(orders, (0..outputs.len() as u64).collect::<Vec<_>>());
    let joined: String = outputs.iter().filter_map(|output| output["stdout"].as_str()).collect();
    assert_eq!(joined, stdout);
    server.stop().await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_and_its_last_words_are_kept() {
    let server = TestServer::start().await;
    let command = "trap 'echo trapped; exit 9' TERM; echo start; sleep 31.7 & wait";
    let output = server.execute(json!({"command": command, "timeout": 1})).await;
    assert_eq!((&output["exit_code"], &output["stdout"]), (&json!(-1), &json!("start\ntrapped\n")));
    assert!(!is_running("sleep 31.7"), "a child was left behind");

    let stubborn = "trap '' TERM; echo start; while true; do sleep 0.1; done";
    let output = server.execute(json!({"command": stubborn, "timeout": 1})).await;
    assert_eq!((&output["exit_code"], &output["stdout"]), (&json!(-1), &json!("start\n")));

    let output = server.execute(json!({"command": "sleep 30", "timeout": 0})).await;
    assert_eq!(output["exit_code"], -1);
    let (status, body) =
        answer(server.post("/api/bash/start_bash_command").json(&json!({"command": "true", "timeout": u64::MAX})))
            .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    server.stop().await;
}

#[tokio::test]
async fn a_process_in_the_background_is_waited_for_but_does_not_change_the_exit_code() {
    let server = TestServer::start().await;
    let output = server.execute(json!({"command": "(sleep 0.5; echo late) & echo now", "timeout": 10})).await;
    assert_eq!((&output["exit_code"], &output["stdout"]), (&json!(0), &json!("now\nlate\n")));
    let output = server.execute(json!({"command": "sleep 32.7 & echo now", "timeout": 1})).await;
    assert_eq!((&output["exit_code"], &output["stdout"]), (&json!(0), &json!("now\n")));
    assert!(!is_running("sleep 32.7"), "a child was left behind");
    server.stop().await;
}

#[tokio::test]
async fn a_process_in_the_background_that_holds_no_pipe_lives_on_until_it_is_stopped() {
    let server = TestServer::start().await;
    let output = server.execute(json!({"command": "sleep 34.7 >/dev/null 2>&1 & echo $!"})).await;
    let number = output["stdout"].as_str().unwrap().trim().to_owned();
    let output = server.execute(json!({"command": format!("kill {number}")})).await;
    assert_eq!(output["exit_code"], 0, "it ended with its command: {output}");

    let script =
        "sh -c 'trap \"\" TERM; echo $$ > pid; sleep 35.7' >/dev/null 2>&1 & until [ -s pid ]; do :; done; wait";
    let id = server.start_command(json!({"command": script})).await;
    until(async || std::fs::read_to_string(server.path("pid")).ok().filter(|number| !number.is_empty())).await;
    assert_eq!(server.stop_command(&id).await.0, StatusCode::OK);
    until(async || (!is_running("sleep 35.7")).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_command_can_be_stopped() {
    let server = TestServer::start().await;
    for (command, code) in
        [("echo begin; sleep 33.7", -15), ("trap '' TERM; echo begin; while true; do sleep 0.1; done", -9)]
    {
        let id = server.start_command(json!({"command": command})).await;
        until(async || server.outputs(&id, -1).await.into_iter().next()).await;
        assert_eq!(server.stop_command(&id).await, (StatusCode::OK, json!({"success": true})));
        let last = server.last_output(&id).await;
        assert_eq!(last["exit_code"], code, "{command}");
        // Once more, in the other form of the id.
        let dashed = uuid::Uuid::parse_str(&id).unwrap().to_string();
        assert_eq!(server.stop_command(&dashed).await, (StatusCode::OK, json!({"success": true})));
    }
    assert!(!is_running("sleep 33.7"), "a child was left behind");
    let unknown = server.stop_command("99999999-2222-3333-4444-555555555555").await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!({"detail": "Not Found"})));
    server.stop().await;
}

#[tokio::test]
async fn many_commands_run_at_once_and_too_many_are_refused() {
    let server = TestServer::start().await;
    let started = Instant::now();
    let ids = join_all((0..256).map(|_| server.start_command(json!({"command": "sleep 60"})))).await;
    let (status, body) = answer(server.post("/api/bash/start_bash_command").json(&json!({"command": "true"}))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(body["detail"].as_str().unwrap().contains("256"), "{body}");
    // Others are not held up by them.
    assert_eq!(answer(server.get("/health")).await.0, StatusCode::OK);
    join_all(ids.iter().map(|id| server.stop_command(id))).await;
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    assert_eq!(server.execute(json!({"command": "echo again"})).await["stdout"], "again\n");
    server.stop().await;
}

#[tokio::test]
async fn events_are_found_by_page_id_and_batch_and_can_be_cleared() {
    let server = TestServer::start().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let output = server.execute(json!({"command": format!("echo {number}")})).await;
        ids.push((output["command_id"].as_str().unwrap().to_owned(), output["id"].as_str().unwrap().to_owned()));
    }
    let search = "/api/bash/bash_events/search";
    let (_, first) = answer(server.get(&format!("{search}?limit=4"))).await;
    let next = first["next_page_id"].as_str().unwrap();
    let (_, second) = answer(server.get(&format!("{search}?limit=4&page_id={next}"))).await;
    let kinds = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&first), ["BashCommand", "BashOutput", "BashCommand", "BashOutput"]);
    assert_eq!((kinds(&second).len(), &second["next_page_id"]), (2, &Value::Null));
    let (_, newest) =
        answer(server.get(&format!("{search}?limit=1&sort_order=TIMESTAMP_DESC&kind__eq=BashCommand"))).await;
    assert_eq!(newest["items"][0]["id"], ids[2].0.as_str());
    let since = first["items"][2]["timestamp"].as_str().unwrap();
    let (_, later) = answer(server.get(search).query(&[("timestamp__gte", since)])).await;
    assert_eq!(later["items"].as_array().unwrap().len(), 4);

    let (_, event) = answer(server.get(&format!("/api/bash/bash_events/{}", ids[0].0))).await;
    assert_eq!((&event["command"], &event["cwd"]), (&json!("echo 0"), &Value::Null));
    let (status, _) = answer(server.get("/api/bash/bash_events/nope")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, batch) = answer(server.get("/api/bash/bash_events/").json(&json!([ids[1].1, "nope", ids[0].0]))).await;
    assert_eq!((&batch[0]["stdout"], &batch[1], &batch[2]), (&json!("1\n"), &Value::Null, &event));

    assert_eq!(
        answer(server.request(reqwest::Method::DELETE, "/api/bash/bash_events")).await.1,
        json!({"cleared_count": 6})
    );
    assert_eq!(answer(server.get(search)).await.1, json!({"items": [], "next_page_id": null}));
    server.stop().await;
}

#[tokio::test]
async fn a_command_under_which_the_server_died_is_told_as_lost() {
    let server = TestServer::start().await;
    let ended = server.execute(json!({"command": "echo fine"})).await;
    let id = server.start_command(json!({"command": "echo begin; sleep 34.7"})).await;
    until(async || server.outputs(&id, -1).await.into_iter().next()).await;
    let server = TestServer::again(server.crash().await).await;
    let outputs = server.outputs(&id, -1).await;
    assert_eq!(outputs.len(), 2, "{outputs:?}");
    assert_eq!((&outputs[1]["exit_code"], &outputs[1]["order"]), (&json!(-1), &json!(1)));
    assert!(outputs[1]["stderr"].as_str().unwrap().contains("server stopped"), "{outputs:?}");
    assert_eq!(server.outputs(ended["command_id"].as_str().unwrap(), -1).await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_its_command() {
    let server = TestServer::start().await;
    let done = server.path("done");
    let request = json!({"command": format!("sleep 0.5; touch {done}")});
    let request = server.post("/api/bash/execute_bash_command").json(&request).timeout(Duration::from_millis(100));
    request.send().await.unwrap_err();
    until(async || std::fs::exists(&done).unwrap().then_some(())).await;
    server.stop().await;
}
