//! What goes wrong.

use std::time::{Duration, Instant};

use longshore_llm::{ErrorKind, Models, ModelsOptions};
use longshore_protocol::{
    Llm, Secret,
    error::{ErrorClassification, FailureKind, UserAction},
};
use longshore_testkit::{Reply, ScriptedServer, hang, raw, say, status};
use serde_json::{Value, json};

use super::{ask, ask_listening, models, patient, request, user};

fn server(replies: impl IntoIterator<Item = Reply>) -> ScriptedServer {
    let server = ScriptedServer::start();
    server.script("m", replies);
    server
}

fn refusal(code: u16, message: &str, error_code: Value) -> Reply {
    status(code, json!({"error": {"message": message, "type": "some_error", "code": error_code}}))
}

#[tokio::test]
async fn refusals_have_the_codes_and_classes_that_clients_know() {
    use FailureKind::{AgentAction, Auth, Config, Quota, RateLimit, Transient};
    let none = Value::Null;
    let too_long = "This model's maximum context length is 10 tokens. However, your messages resulted in 20 tokens";
    let cases = [
        (refusal(401, "Incorrect API key provided", json!("invalid_api_key")), "LLMAuthenticationError", Auth, false),
        (refusal(500, "mock error", none.clone()), "LLMServiceUnavailableError", Transient, true),
        (refusal(503, "busy", none.clone()), "LLMServiceUnavailableError", Transient, true),
        (refusal(529, "Overloaded", none.clone()), "LLMServiceUnavailableError", Transient, true),
        (refusal(408, "slow", none.clone()), "LLMTimeoutError", Transient, true),
        (refusal(429, "Rate limit reached", json!("rate_limit_exceeded")), "LLMRateLimitError", RateLimit, true),
        (refusal(429, "You exceeded it", json!("insufficient_quota")), "LLMQuotaError", Quota, false),
        (refusal(400, "bad param", none.clone()), "LLMBadRequestError", Config, false),
        (refusal(404, "no such model", none.clone()), "NotFoundError", Config, false),
        (refusal(400, too_long, json!("context_length_exceeded")), "LLMContextWindowExceedError", AgentAction, true),
        (
            refusal(400, "must be followed by tool messages responding to each 'tool_call_id'", none.clone()),
            "LLMMalformedConversationHistoryError",
            AgentAction,
            true,
        ),
    ];
    for (reply, code, kind, retryable) in cases {
        let server = server([reply]);
        let error = ask(&server.llm("m")).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let action = match (kind, retryable) {
            (_, true) => UserAction::Retry,
            (_, false) => UserAction::Settings,
        };
        assert_eq!(error.classification(), ErrorClassification::new(kind, retryable, action), "{code}");
    }
}

#[tokio::test]
async fn a_refusal_says_who_refused_and_why() {
    let server =
        server([refusal(401, "Incorrect API key provided: sk-x", Value::Null), refusal(400, "bad param", Value::Null)]);
    let host = server.url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let refused = ask(&server.llm("m")).await.unwrap_err();
    assert_eq!(refused.detail, "Your LLM API key appears to be invalid or has expired.");
    assert_eq!(ask(&server.llm("m")).await.unwrap_err().detail, format!("{host} answered 400: bad param"));
}

#[tokio::test]
async fn keys_are_masked_wherever_a_provider_repeats_them() {
    let key = "my-very-own-key-1234";
    let header = "header-token-567890";
    let echo = format!("key {key}, header {header}, other sk-proj-abcdefghijklmnop");
    let server = server([
        refusal(400, &echo, Value::Null),
        raw("application/json", json!({"error": {"message": echo}}).to_string()),
        raw("text/event-stream", format!("data: {}\n\n", json!({"error": {"message": echo}}))),
    ]);
    let llm = Llm {
        api_key: Some(Secret::new(key)),
        extra_headers: Some([("X-Api-Token".to_owned(), header.to_owned())].into_iter().collect()),
        ..server.llm("m")
    };
    for _ in 0..3 {
        let error = ask(&llm).await.unwrap_err();
        assert!(error.detail.contains("key ***, header ***, other ***"), "{error}");
    }
    let model = models().resolve(&llm).unwrap();
    assert!(!format!("{model:?}").contains("key-1234"));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_as_often_as_configured() {
    let server = server([refusal(500, "a", Value::Null), refusal(429, "b", Value::Null), say("recovered")]);
    assert_eq!(ask(&patient(&server, "m", 3)).await.unwrap().message.text(), "recovered");
    let bodies: Vec<_> = server.requests().iter().map(|request| request.bytes.clone()).collect();
    assert_eq!(bodies.len(), 3);
    assert_eq!(bodies[0], bodies[2]);

    server.script("m", (0..3).map(|_| refusal(503, "down", Value::Null)));
    assert_eq!(ask(&patient(&server, "m", 3)).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!((server.requests().len(), server.unplayed()), (6, 0));
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    for reply in [
        refusal(400, "bad", Value::Null),
        refusal(401, "key", Value::Null),
        refusal(429, "You exceeded your current quota", json!("insufficient_quota")),
        refusal(404, "model", Value::Null),
    ] {
        let server = server([reply, say("never asked for")]);
        ask(&patient(&server, "m", 5)).await.unwrap_err();
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_provider_may_ask_for_less_patience() {
    let server = server([refusal(429, "a", Value::Null).header("Retry-After", "0"), say("ok")]);
    // The configured wait of an hour is not kept.
    let llm = Llm { num_retries: 2, retry_min_wait: 3600, retry_max_wait: 3600, ..server.llm("m") };
    let answer = tokio::time::timeout(Duration::from_secs(30), ask(&llm)).await.unwrap();
    assert_eq!(answer.unwrap().message.text(), "ok");
}

#[tokio::test]
async fn an_empty_answer_at_temperature_zero_is_asked_again_with_one() {
    let empty = || raw("application/json", r#"{"id": "x", "choices": []}"#);
    let server = server([empty(), empty(), say("ok"), empty()]);
    let llm = Llm { temperature: Some(0.0), ..patient(&server, "m", 3) };
    assert_eq!(ask(&llm).await.unwrap().message.text(), "ok");
    let temperatures: Vec<_> = server.requests().iter().map(|request| request.body["temperature"].clone()).collect();
    assert_eq!(temperatures, [json!(0.0), json!(1.0), json!(1.0)]);
    let error = ask(&server.llm("m")).await.unwrap_err();
    assert_eq!(error.code(), "LLMNoResponseError");
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up() {
    let server = server([hang(), hang(), say("late but well")]);
    let llm = Llm { timeout: Some(1), ..server.llm("m") };
    let error = ask(&llm).await.unwrap_err();
    assert_eq!((error.code(), error.detail.contains("within 1 s")), ("LLMTimeoutError", true));
    server.wait_for_hang_ups(1).await;
    let llm = Llm { timeout: Some(3), ..patient(&server, "m", 2) };
    assert_eq!(ask(&llm).await.unwrap().message.text(), "late but well");
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_given_up() {
    let server = server([say("one two three").hang_after(2)]);
    let llm = Llm { stream: true, stream_idle_timeout: Some(1.5), ..server.llm("m") };
    let (answer, deltas) = ask_listening(&llm).await;
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.detail.contains("1.5 s ")), ("LLMTimeoutError", true), "{error}");
    assert_eq!(deltas.len(), 1);
    server.wait_for_hang_ups(1).await;
}

#[tokio::test]
async fn comments_are_no_sign_of_life() {
    // A provider that only keeps the connection open, forever.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(b": still there\n\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let llm = Llm {
        base_url: Some(format!("http://{address}/v1")),
        stream: true,
        stream_idle_timeout: Some(0.3),
        num_retries: 0,
        ..Llm { model: "openai/m".to_owned(), ..Llm::default() }
    };
    let (answer, _) = tokio::time::timeout(Duration::from_secs(30), ask_listening(&llm)).await.unwrap();
    assert_eq!(answer.unwrap_err().code(), "LLMTimeoutError");
    provider.await.unwrap();
}

#[tokio::test]
async fn dropping_the_question_hangs_up() {
    let server = server([hang(), say("words that never end").hang_after(3)]);
    for stream in [false, true] {
        let llm = Llm { stream, ..server.llm("m") };
        let question = tokio::spawn(async move { ask_listening(&llm).await });
        server.wait_for_hanging(1).await;
        question.abort();
        server.wait_for_hang_ups(1 + usize::from(stream)).await;
    }
}

#[tokio::test]
async fn dropping_the_question_ends_the_wait_for_another_attempt() {
    let server = server([refusal(500, "a", Value::Null), say("never asked for")]);
    let llm = Llm { num_retries: 5, ..server.llm("m") };
    let question = tokio::spawn(async move { ask(&llm).await });
    server.wait_for_requests(1).await;
    question.abort();
    assert!(question.await.unwrap_err().is_cancelled());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    for stream in [false, true] {
        let server = server([say("one two three").stream_cut_after(3), say("one two three")]);
        let llm = Llm { stream, ..patient(&server, "m", 2) };
        let (answer, _) = ask_listening(&llm).await;
        assert_eq!(answer.unwrap().message.text(), "one two three");
        assert_eq!(server.requests().len(), 2);
        server.script("m", [say("one two three").stream_cut_after(3)]);
        let (answer, _) = ask_listening(&Llm { num_retries: 1, ..llm }).await;
        assert_eq!(answer.unwrap_err().code(), "LLMServiceUnavailableError");
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_an_end_is_no_answer() {
    let half = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "half"}}]}));
    let server = server([raw("text/event-stream", half), raw("text/event-stream", "")]);
    for _ in 0..2 {
        let error = ask(&server.llm("m")).await.unwrap_err();
        assert_eq!(error.code(), "LLMServiceUnavailableError", "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_no_api_is_named_as_such() {
    let server = server([
        raw("text/html", "<html>Welcome</html>"),
        raw("application/json", r#"{"hello": "world"}"#),
        raw("application/json", "{\"choices\": [{"),
        raw("text/event-stream", "data: nonsense\n\n"),
    ]);
    for (code, says) in [
        ("LLMBadRequestError", "Check base_url"),
        ("LLMBadRequestError", "Check base_url"),
        ("LLMServiceUnavailableError", "not JSON"),
        ("LLMServiceUnavailableError", "not JSON"),
    ] {
        let error = ask(&server.llm("m")).await.unwrap_err();
        assert_eq!((error.code(), error.detail.contains(says)), (code, true), "{error}");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unavailable() {
    let server = ScriptedServer::start();
    let llm = server.llm("m");
    drop(server);
    let start = Instant::now();
    let error = ask(&llm).await.unwrap_err();
    assert_eq!(
        (error.code(), error.detail.contains("cannot be reached")),
        ("LLMServiceUnavailableError", true),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    // Eighty one-MiB pieces, more than any model writes.
    let stream = format!(": {}\n", "x".repeat(1 << 20)).repeat(80);
    let server = server([raw("text/event-stream", stream), raw("application/json", "x".repeat(65 << 20))]);
    for _ in 0..2 {
        let error = ask(&server.llm("m")).await.unwrap_err();
        assert_eq!((error.kind, error.detail.contains("64 MiB")), (ErrorKind::BadRequest, true), "{error}");
    }
}

#[tokio::test]
async fn many_conversations_ask_at_once() {
    let server = ScriptedServer::start();
    server.respond("m", |request| say(request.header("x-litellm-session-id")));
    let model = models().resolve(&server.llm("m")).unwrap();
    let asking = (0..50).map(|_| {
        let model = model.clone();
        tokio::spawn(async move {
            let request = request([user("who am I?")]);
            let answer = model.complete(&request, None).await.unwrap();
            assert_eq!(answer.message.text(), request.conversation.to_string());
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn a_model_at_a_closed_address_is_refused_once_with_what_to_do() {
    let server = server([say("never")]);
    // By default only public addresses are asked.
    let models = Models::new(ModelsOptions::default());
    for base_url in
        [server.url(), server.url().replace("127.0.0.1", "localhost"), server.url().replace("127.0.0.1", "0x7f.1")]
    {
        let llm = Llm { base_url: Some(base_url.clone()), num_retries: 3, ..server.llm("m") };
        let model = models.resolve(&llm).unwrap();
        let error = model.complete(&request([user("hi")]), None).await.unwrap_err();
        assert_eq!((error.kind, error.is_transient()), (ErrorKind::BadRequest, false), "{base_url}");
        assert!(error.detail.contains("a loopback address"), "{error}");
        assert!(error.detail.contains("[outbound] allow = [\""), "{error}");
    }
    assert!(server.requests().is_empty());
}
