//! The scripted provider itself, over plain HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use longshore_testkit::{ScriptedServer, call, calls, hang, raw, say, status};
use serde_json::{Value, json};

async fn post(server: &ScriptedServer, body: Value) -> reqwest::Result<reqwest::Response> {
    reqwest::Client::new().post(format!("{}/chat/completions", server.url())).json(&body).send().await
}

async fn ask(server: &ScriptedServer, model: &str) -> Value {
    post(server, json!({"model": model, "tools": []})).await.unwrap().json().await.unwrap()
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn each_model_has_its_script() {
    let server = ScriptedServer::start();
    server.script("a", [say("a1"), say("a2")]);
    server.script("b", [calls([("x", json!({"n": 1})), ("y", json!("broken"))])]);
    assert_eq!(text(&ask(&server, "a").await), "a1");
    let message = ask(&server, "b").await["choices"][0]["message"].take();
    assert_eq!(message["tool_calls"][0]["function"], json!({"name": "x", "arguments": "{\"n\":1}"}));
    assert_eq!(message["tool_calls"][1]["function"]["arguments"], "broken");
    assert_eq!(server.unplayed(), 1);
    assert_eq!(text(&ask(&server, "a").await), "a2");
    let models: Vec<_> = server.requests().iter().map(|request| request.model().to_owned()).collect();
    assert_eq!(models, ["a", "b", "a"]);

    let beyond = post(&server, json!({"model": "a"})).await.unwrap();
    assert_eq!(beyond.status(), 400);
    assert!(beyond.text().await.unwrap().contains("no answer left"));
}

#[tokio::test]
async fn what_is_beside_the_script_takes_nothing_from_it() {
    let server = ScriptedServer::start();
    server.script("m", [say("scripted")]);
    server.answer_without_tools("A title");
    server.respond("m", |request| say(format!("asked {}", request.body["n"])));
    let title: Value = post(&server, json!({"model": "m"})).await.unwrap().json().await.unwrap();
    assert_eq!(text(&title), "A title");
    assert_eq!(text(&ask(&server, "m").await), "scripted");
    let more: Value = post(&server, json!({"model": "m", "tools": [], "n": 7})).await.unwrap().json().await.unwrap();
    assert_eq!(text(&more), "asked 7");
}

#[tokio::test]
async fn statuses_headers_delays_and_raw_bytes() {
    let server = ScriptedServer::start();
    let refusal = status(529, json!({"error": "busy"})).header("Retry-After", "0");
    server.script("m", [refusal, raw("text/html", "<p>"), say("late").delay(Duration::from_millis(30))]);
    let refused = post(&server, json!({"model": "m"})).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (529, "0"));
    assert_eq!(refused.json::<Value>().await.unwrap(), json!({"error": "busy"}));
    assert_eq!(post(&server, json!({"model": "m"})).await.unwrap().text().await.unwrap(), "<p>");
    assert_eq!(text(&ask(&server, "m").await), "late");
}

#[tokio::test]
async fn a_stream_has_words_pieces_of_calls_and_counts() {
    let server = ScriptedServer::start();
    server.script("m", [say("two words").and_call("x", json!({"a": "ü"})), say("cut here now").stream_cut_after(2)]);
    let body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}});
    let stream = post(&server, body.clone()).await.unwrap().text().await.unwrap();
    let events: Vec<_> = stream.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    let arguments = deltas.clone().filter_map(|delta| delta["tool_calls"][0]["function"]["arguments"].as_str());
    assert_eq!(deltas.clone().filter_map(|delta| delta["content"].as_str()).collect::<Vec<_>>(), ["", "two ", "words"]);
    assert_eq!(arguments.collect::<String>(), "{\"a\":\"ü\"}");
    assert_eq!(chunks.last().unwrap()["usage"]["prompt_tokens"], 100);

    let cut = post(&server, body).await.unwrap().text().await;
    assert!(cut.is_err(), "{cut:?}");
}

#[tokio::test]
async fn hanging_ends_by_release_or_hang_up() {
    let server = ScriptedServer::start();
    server.script("m", [hang(), hang(), call("x", json!({})).hang_after(0)]);
    let released = async {
        server.wait_for_hanging(1).await;
        server.release();
    };
    let (answer, ()) = tokio::join!(ask(&server, "m"), released);
    assert_eq!(text(&answer), "");

    tokio::select! {
        _ = post(&server, json!({"model": "m"})) => panic!("the server should hang"),
        () = server.wait_for_hanging(1) => {}
    }
    server.wait_for_hang_ups(1).await;

    let response = post(&server, json!({"model": "m", "stream": true})).await.unwrap();
    server.wait_for_hanging(1).await;
    drop(response);
    server.wait_for_hang_ups(2).await;
}

#[tokio::test]
async fn dropping_the_server_closes_everything() {
    let server = ScriptedServer::start();
    server.script("m", [hang()]);
    let address = server.url();
    let waiting =
        reqwest::Client::new().post(format!("{address}/chat/completions")).json(&json!({"model": "m"})).send();
    let waiting = tokio::spawn(waiting);
    server.wait_for_hanging(1).await;
    drop(server);
    assert!(waiting.await.unwrap().is_err());
    assert!(reqwest::get(address).await.unwrap_err().is_connect());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_clock_does_not_matter() {
    let server = ScriptedServer::start();
    server.script("m", [say("ok")]);
    let url = format!("{}/chat/completions", server.url());
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // So that the other side waits already, with a clock that stands still.
        std::thread::sleep(Duration::from_millis(50));
        runtime.block_on(reqwest::Client::new().post(url).json(&json!({"model": "m"})).send()).unwrap().status()
    });
    assert_eq!(server.wait_for_requests(1).await.len(), 1);
    assert_eq!(asking.join().unwrap(), 200);
}
