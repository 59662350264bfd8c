//! What comes back.

use longshore_llm::Delta;
use longshore_protocol::{Llm, metrics::TokenUsage};
use longshore_testkit::{Reply, ScriptedServer, call, raw, say};
use serde_json::{Value, json};

use super::{ask, ask_listening, calls};

fn server(replies: impl IntoIterator<Item = Reply>) -> ScriptedServer {
    let server = ScriptedServer::start();
    server.script("m", replies);
    server
}

fn texts(deltas: &[Delta]) -> (String, String) {
    let mut texts = (String::new(), String::new());
    for delta in deltas {
        match delta {
            Delta::Text(text) => texts.0.push_str(text),
            Delta::Reasoning(text) => texts.1.push_str(text),
        }
    }
    texts
}

fn rich() -> Reply {
    say("I will run it.")
        .reasoning("thinking hard now")
        .and_call("terminal", json!({"command": "echo ü"}))
        .and_call("think", json!({"thought": "b"}))
        .usage(json!({
            "prompt_tokens": 50, "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 40},
            "completion_tokens_details": {"reasoning_tokens": 3},
        }))
}

#[tokio::test]
async fn a_streamed_answer_is_the_same_as_a_whole_one() {
    let server = server([rich(), rich(), rich()]);
    let (whole, no_deltas) = ask_listening(&server.llm("m")).await;
    let streaming = Llm { stream: true, ..server.llm("m") };
    let (streamed, deltas) = ask_listening(&streaming).await;
    let unheard = ask(&streaming).await.unwrap();
    let (whole, streamed) = (whole.unwrap(), streamed.unwrap());

    assert_eq!(whole.message.text(), "I will run it.");
    assert_eq!(whole.message.reasoning_content.as_deref(), Some("thinking hard now"));
    assert_eq!(calls(&whole.message), [("terminal", "{\"command\":\"echo ü\"}"), ("think", "{\"thought\":\"b\"}")]);
    let without_ids = |message: &longshore_protocol::Message| {
        let mut message = message.clone();
        message.tool_calls.iter_mut().flatten().for_each(|call| call.id.clear());
        message
    };
    assert_eq!(without_ids(&streamed.message), without_ids(&whole.message));
    assert_eq!(without_ids(&unheard.message), without_ids(&whole.message));

    assert_eq!(no_deltas, []);
    assert_eq!(texts(&deltas), ("I will run it.".to_owned(), "thinking hard now".to_owned()));
    assert!(deltas.len() >= 7, "{deltas:?}");
    let streams: Vec<_> = server.requests().iter().map(|request| request.body["stream"] == true).collect();
    assert_eq!(streams, [false, true, false], "without a listener nothing is streamed");
}

#[tokio::test]
async fn a_call_is_counted() {
    let server = server([rich(), rich()]);
    for llm in [server.llm("m"), Llm { stream: true, ..server.llm("m") }] {
        let (answer, _) = ask_listening(&Llm { usage_id: "agent".to_owned(), ..llm }).await;
        let answer = answer.unwrap();
        let expected = TokenUsage {
            model: "openai/m".to_owned(),
            prompt_tokens: 50,
            completion_tokens: 7,
            cache_read_tokens: 40,
            reasoning_tokens: 3,
            per_turn_token: 57,
            response_id: answer.id.clone(),
            ..TokenUsage::default()
        };
        assert_eq!(answer.call.usage, expected);
        assert_eq!(answer.call.usage_id, "agent");
        assert!(answer.id.starts_with("chatcmpl-"));
        assert!(answer.call.latency > 0.0 && answer.call.timestamp > 1.7e9);
    }
}

#[tokio::test]
async fn a_call_costs_what_the_proxy_says_or_the_prices_tell() {
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 100});
    let counted = || say("x").usage(usage.clone());
    let body_cost = say("x").usage(json!({"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}));
    let server = server([
        counted(),
        counted(),
        counted().header("x-litellm-response-cost", "0.25"),
        counted().header("x-litellm-response-cost", "0.0"),
        body_cost,
    ]);
    let free = server.llm("m");
    let priced = Llm { input_cost_per_token: Some(1e-6), output_cost_per_token: Some(1e-5), ..server.llm("m") };
    let canonical = Llm { model_canonical_name: Some("gpt-4o".to_owned()), ..server.llm("m") };
    for (llm, cost) in [(&free, 0.0), (&priced, 0.002), (&priced, 0.25), (&canonical, 0.0035), (&free, 0.5)] {
        let answer = ask(llm).await.unwrap();
        assert!((answer.call.cost - cost).abs() < 1e-12, "{} is not {cost}", answer.call.cost);
    }
}

#[tokio::test]
async fn the_context_window_is_the_configured_or_the_known_one() {
    let server = server([say("a"), say("b")]);
    let known = Llm { model_canonical_name: Some("gpt-4o".to_owned()), ..server.llm("m") };
    assert_eq!(ask(&known).await.unwrap().call.usage.context_window, 128_000);
    let configured = Llm { max_input_tokens: Some(5000), ..known };
    assert_eq!(ask(&configured).await.unwrap().call.usage.context_window, 5000);
}

#[tokio::test]
async fn what_came_decides_and_not_what_was_asked() {
    let whole = json!({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}).to_string();
    let chunk = |delta: Value, finish: Value| {
        format!("data: {}\r\n\r\n", json!({"choices": [{"delta": delta, "finish_reason": finish}]}))
    };
    // No `[DONE]`, but the provider said that it is finished.
    let stream = chunk(json!({"content": "str"}), Value::Null) + &chunk(json!({"content": "eam"}), json!("stop"));
    let server = server([
        raw("application/json; charset=utf-8", whole.clone()),
        raw("text/event-stream; charset=utf-8", stream),
        raw("text/plain", whole),
    ]);
    let (answer, deltas) = ask_listening(&Llm { stream: true, ..server.llm("m") }).await;
    assert_eq!(answer.unwrap().message.text(), "whole");
    assert_eq!(deltas, [Delta::Text("whole".to_owned())]);
    assert_eq!(ask(&server.llm("m")).await.unwrap().message.text(), "stream");
    assert_eq!(ask(&server.llm("m")).await.unwrap().message.text(), "whole");
}

#[tokio::test]
async fn an_answer_without_anything_is_an_empty_text() {
    let server = server([say(""), raw("application/json", r#"{"choices": [{"message": {"content": null}}]}"#)]);
    for _ in 0..2 {
        let answer = ask(&server.llm("m")).await.unwrap();
        assert_eq!((answer.message.text().as_str(), &answer.message.tool_calls), ("", &None));
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_come_through() {
    let server = server([call("terminal", json!("{not json")), call("terminal", json!("{not json"))]);
    for llm in [server.llm("m"), Llm { stream: true, ..server.llm("m") }] {
        let (answer, _) = ask_listening(&llm).await;
        assert_eq!(calls(&answer.unwrap().message), [("terminal", "{not json")]);
    }
}

#[tokio::test]
async fn a_listener_that_leaves_stops_nothing() {
    let server = server([say("some words to hear")]);
    let llm = Llm { stream: true, ..server.llm("m") };
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    drop(receiver);
    let model = super::models().resolve(&llm).unwrap();
    let answer = model.complete(&super::request([super::user("hi")]), Some(sender)).await.unwrap();
    assert_eq!(answer.message.text(), "some words to hear");
}
