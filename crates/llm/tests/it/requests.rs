//! What is sent.

use std::collections::BTreeMap;

use longshore_llm::{ModelsOptions, Request};
use longshore_protocol::{Content, ConversationId, ImageContent, Llm, Message, Role, Secret, message::ThinkingBlock};
use longshore_testkit::{ScriptedServer, say};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{assistant, calling, environment, models, models_with, request, result_of, user};

/// A request of the official server, its texts shortened.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    headers: BTreeMap<String, String>,
    path: String,
    body: Value,
}

/// The request that leads to a recorded body.
fn request_of(body: &Value) -> Request {
    let messages = body["messages"].as_array().unwrap().iter().map(|message| {
        let mut message = message.clone();
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            let function = call["function"].take();
            *call = json!({"id": call["id"], "name": function["name"], "arguments": function["arguments"]});
        }
        serde_json::from_value(message).unwrap()
    });
    let tools = body["tools"].as_array().into_iter().flatten();
    Request {
        conversation: body["prompt_cache_key"].as_str().unwrap().parse::<ConversationId>().unwrap(),
        tools: tools.map(|tool| serde_json::from_value(tool["function"].clone()).unwrap()).collect(),
        ..request(messages.collect::<Vec<Message>>())
    }
}

#[tokio::test]
async fn bodies_are_byte_for_byte_those_of_the_official_server() {
    let recorded: Vec<Recorded> = serde_json::from_str(include_str!("recorded_requests.json")).unwrap();
    assert_eq!(recorded.len(), 7);
    for Recorded { name, headers, path, body } in recorded {
        let server = ScriptedServer::start();
        let model = body["model"].as_str().unwrap();
        server.script(model, [say("ok")]);
        let stream = body["stream"] == true;
        let llm = Llm { api_key: Some(Secret::new("sk-mock-secret")), stream, ..server.llm(model) };
        let (deltas, _listening) = tokio::sync::mpsc::channel(100);
        models().resolve(&llm).unwrap().complete(&request_of(&body), Some(deltas)).await.unwrap();
        let sent = &server.requests()[0];
        assert_eq!(String::from_utf8_lossy(&sent.bytes), body.to_string(), "{name}");
        assert_eq!(sent.path, path);
        for (header, value) in headers {
            assert_eq!(sent.header(&header), value, "{name}: {header}");
        }
    }
}

/// What a configuration sends for these messages.
async fn sent(change: impl FnOnce(&mut Llm), messages: Vec<Message>) -> Value {
    let server = ScriptedServer::start();
    server.respond("m", |_| say("ok"));
    let mut llm = server.llm("m");
    change(&mut llm);
    let model = llm.model.rsplit('/').next().unwrap().to_owned();
    server.respond(&model, |_| say("ok"));
    models().resolve(&llm).unwrap().complete(&request(messages), None).await.unwrap();
    let mut body = server.requests()[0].body.clone();
    let fields = body.as_object_mut().unwrap();
    fields.shift_remove("prompt_cache_key");
    fields.shift_remove("tools");
    body
}

fn hello(fields: &Value) -> Value {
    let mut body = json!({"messages": [{"content": [{"type": "text", "text": "hi"}], "role": "user"}], "model": "m"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn parameters_are_sent_only_when_set() {
    let body = sent(
        |llm| {
            llm.temperature = Some(0.3);
            llm.top_p = Some(0.9);
            llm.top_k = Some(40.0);
            llm.seed = Some(7);
            llm.max_output_tokens = Some(1000);
        },
        vec![user("hi")],
    )
    .await;
    let all = json!({
        "max_completion_tokens": 1000, "reasoning_effort": "high", "seed": 7, "temperature": 0.3, "top_k": 40.0, "top_p": 0.9,
    });
    assert_eq!(body, hello(&all));
    assert_eq!(sent(|llm| llm.reasoning_effort = None, vec![user("hi")]).await, hello(&json!({})));
}

#[tokio::test]
async fn extra_fields_are_merged_and_win() {
    let change = |llm: &mut Llm| {
        let extra = json!({"foo": {"bar": 1}, "reasoning_effort": "low"});
        llm.litellm_extra_body = extra.as_object().unwrap().clone();
    };
    let body = sent(change, vec![user("hi")]).await;
    assert_eq!(body, hello(&json!({"foo": {"bar": 1}, "reasoning_effort": "low"})));
}

#[tokio::test]
async fn reasoning_models_of_openai_get_no_temperature() {
    let change = |llm: &mut Llm| {
        llm.model = "openai/o3".to_owned();
        llm.temperature = Some(0.0);
    };
    let body = sent(change, vec![user("hi")]).await;
    assert_eq!(body, hello(&json!({"model": "o3", "reasoning_effort": "high"})));
}

#[tokio::test]
async fn claude_gets_marks_thinking_and_its_blocks_back() {
    let mut thought = calling("c1", "terminal", &json!({}));
    thought.thinking_blocks =
        vec![ThinkingBlock::Thinking { thinking: "hm".to_owned(), signature: Some("sig".to_owned()) }];
    let system = Message::new(Role::System, vec![Content::text("static"), Content::text("dynamic")]);
    let change = |llm: &mut Llm| llm.model = "litellm_proxy/claude-sonnet-4-5".to_owned();
    let body = sent(change, vec![system.clone(), user("hi"), thought, result_of("c1", "terminal", "out")]).await;
    let ephemeral = json!({"type": "ephemeral"});
    let expected = json!([
        {"content": [
            {"type": "text", "text": "static", "cache_control": ephemeral},
            {"type": "text", "text": "dynamic"},
        ], "role": "system"},
        {"content": [{"type": "text", "text": "hi"}], "role": "user"},
        {
            "role": "assistant",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "terminal", "arguments": "{}"}}],
        },
        {
            "content": [{"type": "text", "text": "out"}],
            "role": "tool",
            "cache_control": ephemeral,
            "tool_call_id": "c1",
            "name": "terminal",
        },
    ]);
    assert_eq!(body["messages"].to_string(), expected.to_string());
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 63_999}));
    assert_eq!(body["max_tokens"], 64_000);
    let body = sent(change, vec![system, user("one"), user("two")]).await;
    assert_eq!(body["messages"][1]["content"], json!([{"type": "text", "text": "one"}]));
    assert_eq!(body["messages"][2]["content"], json!([{"type": "text", "text": "two", "cache_control": ephemeral}]));
}

#[tokio::test]
async fn content_as_one_text() {
    let change = |llm: &mut Llm| llm.force_string_serializer = Some(true);
    let two = Message::new(Role::User, vec![Content::text("a"), Content::text("b")]);
    let mut said = calling("c1", "terminal", &json!({}));
    said.content = vec![Content::text(" ")];
    let body = sent(change, vec![two, said, result_of("c1", "terminal", "out"), assistant("")]).await;
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages[0]["content"], "a\nb");
    assert_eq!(messages[1].get("content"), None);
    assert_eq!(messages[2]["content"], "out");
    assert_eq!(messages[3]["content"], "");
}

#[tokio::test]
async fn images_are_parts_unless_nobody_looks() {
    let images = ImageContent { cache_prompt: false, image_urls: vec!["data:a".to_owned(), "http://b".to_owned()] };
    let message = || Message::new(Role::User, vec![Content::text("look"), Content::Image(images.clone())]);
    let body = sent(|_| {}, vec![message()]).await;
    let expected = json!([
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:a"}},
        {"type": "image_url", "image_url": {"url": "http://b"}},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
    let as_text = sent(|llm| llm.force_string_serializer = Some(true), vec![message()]).await;
    assert_eq!(as_text["messages"][0]["content"], expected);
    let blind = sent(|llm| llm.disable_vision = Some(true), vec![message()]).await;
    assert_eq!(blind["messages"][0]["content"], json!([{"type": "text", "text": "look"}]));
}

#[tokio::test]
async fn only_the_results_of_tools_are_cut() {
    let long = "x".repeat(60_000);
    let body =
        sent(|_| {}, vec![user(&long), calling("c1", "terminal", &json!({})), result_of("c1", "terminal", &long)])
            .await;
    let length = |index: usize| body["messages"][index]["content"][0]["text"].as_str().unwrap().chars().count();
    assert_eq!((length(0), length(2)), (60_000, 50_000));
}

#[tokio::test]
async fn headers_of_the_configuration_win() {
    let server = ScriptedServer::start();
    server.script("m", [say("ok")]);
    let headers = [("X-Title", "Mine"), ("X-Extra", "ü"), ("x-litellm-session-id", "my-session")];
    let llm = Llm {
        extra_headers: Some(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        ..server.llm("m")
    };
    super::ask(&llm).await.unwrap();
    let sent = &server.requests()[0];
    assert_eq!(sent.header("x-title"), "Mine");
    assert_eq!(sent.header("x-litellm-session-id"), "my-session");
    assert_eq!(sent.headers["x-extra"].as_bytes(), "ü".as_bytes());
    assert_eq!(sent.header("http-referer"), "https://docs.all-hands.dev/");
}

#[tokio::test]
async fn providers_have_their_ways() {
    let server = ScriptedServer::start();
    server.respond("x/y", |_| say("ok"));
    server.respond("dep", |_| say("ok"));
    let openrouter = Llm { model: "openrouter/x/y".to_owned(), ..server.llm("m") };
    super::ask(&openrouter).await.unwrap();
    let azure = Llm { model: "azure/dep".to_owned(), api_version: Some("2025-01-01".to_owned()), ..server.llm("m") };
    super::ask(&azure).await.unwrap();
    let [first, second] = &server.requests()[..] else { panic!("two requests") };
    assert_eq!(first.body["usage"], json!({"include": true}));
    assert_eq!(first.body["session_id"], first.header("x-litellm-session-id"));
    assert_eq!(second.path, "/v1/openai/deployments/dep/chat/completions");
    assert_eq!(second.query, "api-version=2025-01-01");
    assert_eq!((second.header("api-key"), second.header("authorization")), ("sk-test-key-0123456789", ""));
}

#[tokio::test]
async fn the_environment_fills_gaps() {
    let server = ScriptedServer::start();
    server.script("m", [say("ok")]);
    let variables = [("OPENAI_API_KEY", "sk-operator-key"), ("OPENAI_BASE_URL", &*server.url())];
    let models = models_with(ModelsOptions { environment: environment(&variables), ..ModelsOptions::default() });
    let llm = Llm { model: "openai/m".to_owned(), num_retries: 0, ..Llm::default() };
    models.resolve(&llm).unwrap().complete(&request([user("hi")]), None).await.unwrap();
    assert_eq!(server.requests()[0].header("authorization"), "Bearer sk-operator-key");
    assert!(!format!("{models:?}").contains("sk-operator-key"));
}

#[test]
fn what_cannot_work_is_refused_before_any_request() {
    let check = |change: fn(&mut Llm), says: &str| {
        let mut llm = Llm {
            model: "openai/m".to_owned(),
            base_url: Some("http://127.0.0.1:9/v1".to_owned()),
            api_key: Some(Secret::new("sk-abc")),
            ..Llm::default()
        };
        change(&mut llm);
        let error = models().resolve(&llm).unwrap_err();
        assert_eq!(error.code(), "LLMBadRequestError");
        assert!(error.detail.contains(says), "{error}");
    };
    check(|llm| llm.api_mode = longshore_protocol::llm::ApiMode::Responses, "api_mode");
    check(|llm| llm.auth_type = "subscription".to_owned(), "auth_type");
    check(|llm| llm.native_tool_calling = false, "native_tool_calling");
    check(|llm| llm.api_key = Some(Secret::new("sk\nx")), "api_key");
    check(|llm| llm.extra_headers = Some([("a b".to_owned(), "c".to_owned())].into_iter().collect()), "\"a b\"");
    check(|llm| llm.extra_headers = Some([("Host".to_owned(), "c".to_owned())].into_iter().collect()), "\"Host\"");
    check(|llm| llm.extra_headers = Some([("a".to_owned(), "c\n".to_owned())].into_iter().collect()), "\"a\"");
}
