//! Scripted models.

use std::{fs, sync::Arc};

use longshore_llm::{Delta, Error, Model, Models, ModelsOptions, Request, Response, Turn};
use longshore_protocol::{Llm, Message};
use serde_json::json;

use super::{assistant, calling, calls, models, models_in, request, result_of, user};

fn llm(model: &str) -> Llm {
    Llm { model: model.to_owned(), num_retries: 0, ..Llm::default() }
}

async fn play(model: &Arc<dyn Model>, messages: Vec<Message>) -> Result<Response, Error> {
    model.complete(&request(messages), None).await
}

const SCRIPT: &str = r#"[
    {"text": "first", "tool_calls": [{"name": "terminal", "arguments": {"command": "ls"}}], "usage": {"prompt_tokens": 5}},
    {"tool_calls": [{"name": "finish", "arguments": {"message": "done"}}]},
    {"text": "again and again", "repeat": true}
]"#;

#[tokio::test]
async fn the_conversation_tells_the_turn() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("demo.json"), SCRIPT).unwrap();
    let model = models_in(folder.path()).resolve(&llm("scripted/demo.json")).unwrap();

    let first = play(&model, vec![user("go")]).await.unwrap();
    assert_eq!(
        (first.message.text().as_str(), calls(&first.message)),
        ("first", vec![("terminal", r#"{"command":"ls"}"#)])
    );
    assert_eq!((first.call.usage.prompt_tokens, first.call.usage.model.as_str()), (5, "scripted/demo.json"));

    let history = vec![user("go"), calling("c1", "terminal", &json!({})), result_of("c1", "terminal", "out")];
    for _ in 0..2 {
        let second = play(&model, history.clone()).await.unwrap();
        assert_eq!(calls(&second.message), [("finish", r#"{"message":"done"}"#)]);
    }
    // Another process: a new model goes on at the same place.
    let resumed = models_in(folder.path()).resolve(&llm("scripted/demo.json")).unwrap();
    let mut long = history;
    for _ in 0..5 {
        long.push(assistant("x"));
        assert_eq!(play(&resumed, long.clone()).await.unwrap().message.text(), "again and again");
    }
}

#[tokio::test]
async fn a_script_that_is_over_says_so() {
    let scripts = [("demo".to_owned(), vec![Turn::say("only")])];
    let models = Models::new(ModelsOptions { scripts: scripts.into_iter().collect(), ..ModelsOptions::default() });
    let model = models.resolve(&llm("scripted/demo")).unwrap();
    assert_eq!(play(&model, vec![user("go")]).await.unwrap().message.text(), "only");
    let error = play(&model, vec![user("go"), assistant("only"), user("more")]).await.unwrap_err();
    assert_eq!(error.code(), "LLMBadRequestError");
    assert!(error.detail.contains("1 answers") && error.detail.contains("repeat"), "{error}");
}

#[tokio::test]
async fn errors_play_once_for_each_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"[
        {"error": {"status": 500, "message": "a"}}, {"error": {"status": 429, "message": "b"}}, {"text": "one"},
        {"error": {"status": 401}}, {"text": "two"}
    ]"#;
    fs::write(folder.path().join("errors"), script).unwrap();
    let model = models_in(folder.path()).resolve(&llm("scripted/errors")).unwrap();
    let complete = async |request: &Request| match model.complete(request, None).await {
        Ok(response) => response.message.text(),
        Err(error) => error.code().to_owned(),
    };
    for _ in 0..2 {
        let mut conversation = request([user("go")]);
        assert_eq!(complete(&conversation).await, "LLMServiceUnavailableError");
        assert_eq!(complete(&conversation).await, "LLMRateLimitError");
        assert_eq!(complete(&conversation).await, "one");
        conversation.messages.push(Arc::new(assistant("one")));
        assert_eq!(complete(&conversation).await, "LLMAuthenticationError");
        assert_eq!(complete(&conversation).await, "two");
    }
    // With attempts left, a passing error is never seen, however long the configured waits are.
    let patient = models_in(folder.path()).resolve(&Llm { num_retries: 3, ..llm("scripted/errors") }).unwrap();
    assert_eq!(play(&patient, vec![user("go")]).await.unwrap().message.text(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_turn_takes_its_time_and_is_heard() {
    let turn = Turn { reasoning: Some("let me see".to_owned()), ..Turn::say("a b c d e f").after_ms(60_000) };
    let scripts = [("slow".to_owned(), vec![turn])];
    let models = Models::new(ModelsOptions { scripts: scripts.into_iter().collect(), ..ModelsOptions::default() });
    let model = models.resolve(&Llm { stream: true, ..llm("scripted/slow") }).unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
    let answer = model.complete(&request([user("go")]), Some(sender)).await.unwrap();
    assert!((answer.call.latency - 60.0).abs() < 1.0);
    let (mut text, mut reasoning, mut count) = (String::new(), String::new(), 0);
    while let Some(delta) = receiver.recv().await {
        count += 1;
        match delta {
            Delta::Text(piece) => text.push_str(&piece),
            Delta::Reasoning(piece) => reasoning.push_str(&piece),
        }
    }
    assert_eq!((text.as_str(), reasoning.as_str()), ("a b c d e f", "let me see"));
    assert!(count > 3);
}

#[test]
fn only_the_operators_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("models");
    fs::create_dir(&inner).unwrap();
    fs::write(folder.path().join("outside.json"), SCRIPT).unwrap();
    fs::write(inner.join("bad.json"), r#"[{"text": "a"}, {"texte": "b"}]"#).unwrap();
    std::os::unix::fs::symlink(folder.path().join("outside.json"), inner.join("link.json")).unwrap();
    let absolute = folder.path().join("outside.json");

    let check = |models: &Models, model: &str, says: &str| {
        let error = models.resolve(&llm(model)).unwrap_err();
        assert_eq!(error.code(), "LLMBadRequestError");
        assert!(error.detail.contains(says), "{error}");
    };
    let models_there = models_in(&inner);
    for kind in ["scripted/", "replay/"] {
        check(&models_there, &format!("{kind}../outside.json"), "relative name");
        check(&models_there, &format!("{kind}{}", absolute.display()), "relative name");
        check(&models_there, &format!("{kind}link.json"), "leads out");
        check(&models_there, &format!("{kind}missing.json"), "missing.json");
        check(&models(), &format!("{kind}demo.json"), "--models-dir");
    }
    check(&models_there, "record/../outside.json+scripted/bad.json", "mistake in turn 2");
    check(&models_there, "scripted/bad.json", "texte");
    check(&models(), "record/x+openai/m", "--models-dir");
}
