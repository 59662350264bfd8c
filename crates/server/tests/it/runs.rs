//! Runs: beginning, stopping and confirming, and what holds for all of them.

use longshore_engine::QueueLimits;
use longshore_server::Options;
use longshore_testkit::{call, hang, say};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    agents::{kinds, message},
    server::{Setup, TestServer, answer, until},
};

const OK: (StatusCode, Value) = (StatusCode::OK, Value::Null);

/// The status, if the answer is the usual one.
fn ok(answer: (StatusCode, Value)) -> (StatusCode, Value) {
    if answer.1 == json!({"success": true}) { (answer.0, Value::Null) } else { answer }
}

#[tokio::test]
async fn a_conversation_runs_once_at_a_time() {
    let server = TestServer::start().await;
    // After its release the model says nothing and is asked again.
    server.provider().script("m", [hang(), say("done")]);
    let conversation = server.create("m", json!({})).await;
    let run = format!("{conversation}/run");
    let mut said = message("go");
    said["run"] = json!(false);
    assert_eq!(ok(server.post_json(&format!("{conversation}/events"), &said).await), OK);
    assert_eq!(server.look(&conversation).await["execution_status"], "idle");
    assert_eq!(ok(answer(server.post(&run)).await), OK);
    server.provider().wait_for_hanging(1).await;
    let busy = json!({"detail": "Conversation already running. Wait for completion or pause first."});
    assert_eq!(answer(server.post(&run)).await, (StatusCode::CONFLICT, busy));
    server.provider().release();
    server.until_status(&conversation, "finished").await;
    server.stop().await;
}

#[tokio::test]
async fn more_runs_than_may_are_refused_and_the_message_is_kept() {
    let queue = QueueLimits { waiting: 0, ..QueueLimits::default() };
    let server = TestServer::of(Setup { max_concurrent_runs: 1, queue, ..Setup::default() }).await;
    server.provider().script("busy", [hang(), say("done")]);
    let busy = server.create("busy", json!({})).await;
    server.say(&busy, "go").await;
    server.provider().wait_for_hanging(1).await;

    let other = server.create("m", json!({})).await;
    let (status, body) = server.post_json(&format!("{other}/events"), &message("kept")).await;
    let detail = format!(
        "Message saved, but the conversation run limit was reached. Retry POST {other}/run without resending the message."
    );
    assert_eq!((status, body), (StatusCode::TOO_MANY_REQUESTS, json!({"detail": detail})));
    let full =
        (StatusCode::TOO_MANY_REQUESTS, json!({"detail": "Conversation run limit reached. Retry the request later."}));
    assert_eq!(answer(server.post(&format!("{other}/run"))).await, full);
    let response = server.post(&format!("{other}/run")).send().await.unwrap();
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let wish = server.wish("m", json!({"initial_message": message("first")}));
    assert_eq!(server.post_json("/api/conversations", &wish).await, full);
    assert_eq!(server.look("/api/conversations/count").await, 2, "nothing was made");
    assert_eq!(server.look(&format!("{other}/events/count?kind=MessageEvent")).await, 1);

    server.provider().release();
    server.until_status(&busy, "finished").await;
    server.provider().script("m", [say("answered")]);
    until(async || (ok(answer(server.post(&format!("{other}/run"))).await) == OK).then_some(())).await;
    server.until_status(&other, "finished").await;
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_paused_resumed_and_interrupted_at_once() {
    let server = TestServer::start().await;
    let conversation = server.busy("m").await;
    assert_eq!(ok(answer(server.post(&format!("{conversation}/pause"))).await), OK);
    server.until_status(&conversation, "paused").await;
    assert_eq!(ok(answer(server.post(&format!("{conversation}/interrupt"))).await), OK);
    let interrupted = async || {
        let events = server.events(&conversation).await;
        kinds(&events).contains(&"AgentErrorEvent".to_owned()).then_some(events)
    };
    until(interrupted).await;
    server.provider().script("m", [say("went on")]);
    until(async || (ok(answer(server.post(&format!("{conversation}/run"))).await) == OK).then_some(())).await;
    server.until_status(&conversation, "finished").await;
    let response = server.look(&format!("{conversation}/agent_final_response")).await;
    assert_eq!(response, json!({"response": "went on"}));
    server.stop().await;
}

#[tokio::test]
async fn a_first_message_starts_the_run() {
    let server = TestServer::start().await;
    server.provider().script("m", [say("hello")]);
    let first = json!({"role": "user", "content": [{"type": "text", "text": "hi"}]});
    let conversation = server.create("m", json!({"initial_message": first})).await;
    server.until_status(&conversation, "finished").await;
    server.stop().await;
}

#[tokio::test]
async fn actions_wait_for_the_user_and_are_rejected_or_accepted() {
    let server = TestServer::start().await;
    let touch = |name: &str| call("terminal", json!({"command": format!("touch {name}")}));
    server.provider().script("m", [touch("rejected"), touch("accepted"), say("done")]);
    let info = server.make("m", json!({"confirmation_policy": {"kind": "AlwaysConfirm"}})).await;
    let conversation = format!("/api/conversations/{}", info["id"].as_str().unwrap());
    let folder = std::path::PathBuf::from(info["workspace"]["working_dir"].as_str().unwrap());
    let respond = format!("{conversation}/events/respond_to_confirmation");

    server.say(&conversation, "go").await;
    server.until_status(&conversation, "waiting_for_confirmation").await;
    let missing = json!({"type": "missing", "loc": ["body", "accept"], "msg": "Field required", "input": {}});
    let (status, body) = server.post_json(&respond, &json!({})).await;
    assert_eq!((status, &body["detail"][0]), (StatusCode::UNPROCESSABLE_ENTITY, &missing));
    assert_eq!(ok(server.post_json(&respond, &json!({"accept": false, "reason": "not that"})).await), OK);
    server.until_status(&conversation, "idle").await;
    let rejection = server.look(&format!("{conversation}/events/search?kind=UserRejectObservation")).await;
    assert_eq!(rejection["items"][0]["rejection_reason"], "not that");

    assert_eq!(ok(answer(server.post(&format!("{conversation}/run"))).await), OK);
    server.until_status(&conversation, "waiting_for_confirmation").await;
    assert_eq!(ok(server.post_json(&respond, &json!({"accept": true})).await), OK);
    server.until_status(&conversation, "finished").await;
    assert!(folder.join("accepted").exists() && !folder.join("rejected").exists());
    // Nothing waits, so nothing comes of it.
    let count = server.look(&format!("{conversation}/events/count")).await;
    assert_eq!(ok(server.post_json(&respond, &json!({"accept": false})).await), OK);
    assert_eq!(server.look(&format!("{conversation}/events/count")).await, count);
    server.stop().await;
}

/// W4: the official server forgets what was set when it restarts.
#[tokio::test]
async fn policies_and_analyzers_hold_until_they_are_changed() {
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({})).await;
    let (policy, analyzer) =
        (format!("{conversation}/confirmation_policy"), format!("{conversation}/security_analyzer"));
    let risky = json!({"kind": "ConfirmRisky", "threshold": "MEDIUM", "confirm_unknown": false});
    assert_eq!(ok(server.post_json(&policy, &json!({"policy": risky})).await), OK);
    let judge = json!({"security_analyzer": {"kind": "LLMSecurityAnalyzer"}});
    assert_eq!(ok(server.post_json(&analyzer, &judge).await), OK);
    for (path, body, field) in [
        (&policy, json!({"policy": {"kind": "Nope"}}), "policy"),
        (&policy, json!({}), "policy"),
        (&policy, json!({"policy": null}), "policy"),
        (&analyzer, json!({"security_analyzer": {"kind": "Nope"}}), "security_analyzer"),
        (&analyzer, json!({"security_analyzer": {"kind": "GraySwanAnalyzer"}}), "security_analyzer"),
        (&analyzer, json!({"security_analyzer": 1}), "security_analyzer"),
    ] {
        let (status, answer) = server.post_json(path, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {answer}");
        assert!(answer["detail"][0]["loc"][1].as_str().unwrap().ends_with(field), "{body}: {answer}");
    }
    let again = TestServer::again(server.stop().await).await;
    let info = again.look(&conversation).await;
    assert_eq!(info["confirmation_policy"], risky);
    assert_eq!(info["security_analyzer"]["kind"], "LLMSecurityAnalyzer");
    assert_eq!(ok(again.post_json(&analyzer, &json!({"security_analyzer": null})).await), OK);
    assert_eq!(again.look(&conversation).await["security_analyzer"], Value::Null);
    again.stop().await;
}

#[tokio::test]
async fn a_run_uses_the_server() {
    let server = TestServer::with(Options::default(), &[]).await;
    let idle = async || server.look("/server_info").await["idle_time"].as_f64().unwrap();
    let is_idle = async || (idle().await >= 1.0).then_some(());
    let conversation = server.busy("m").await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(idle().await < 1.0, "it runs");
    answer(server.post(&format!("{conversation}/interrupt"))).await;
    until(is_idle).await;
    server.look(&conversation).await;
    server.look(&format!("{conversation}/events/search")).await;
    assert!(idle().await >= 1.0, "looking is no use");
    let mut said = message("more");
    said["run"] = json!(false);
    server.post_json(&format!("{conversation}/events"), &said).await;
    assert!(idle().await < 1.0, "an event was stored");
    server.stop().await;
}
