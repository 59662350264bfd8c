//! Recording and replaying.

use std::{fs, sync::Arc};

use longshore_llm::{Delta, Models, Request};
use longshore_protocol::{ConversationId, Llm, Message, Secret};
use longshore_testkit::{ScriptedServer, call, say};
use serde_json::json;
use uuid::Uuid;

use super::{calling, calls, models_in, request, result_of, user};

/// The same conversation as another run would have it: other ids, another day.
fn run(conversation: Uuid, day: &str, call_id: &str, length: usize) -> Request {
    let messages: Vec<Message> = vec![
        user(&format!("Today is {day}. I am {conversation}.")),
        calling(call_id, "terminal", &json!({"command": "date"})),
        result_of(call_id, "terminal", &format!("{day}T10:00:00Z")),
    ];
    let mut request = request(messages.into_iter().take(length));
    request.conversation = ConversationId(conversation);
    request
}

fn recording(server: &ScriptedServer, models: &Models) -> Arc<dyn longshore_llm::Model> {
    models.resolve(&Llm { model: "record/run.jsonl+openai/m".to_owned(), ..server.llm("m") }).unwrap()
}

fn replay() -> Llm {
    Llm { model: "replay/run.jsonl".to_owned(), stream: true, ..Llm::default() }
}

#[tokio::test]
async fn what_was_recorded_is_replayed_without_a_provider() {
    let folder = tempfile::tempdir().unwrap();
    let models = models_in(folder.path());
    let server = ScriptedServer::start();
    server.script("m", [call("terminal", json!({"command": "date"})), say("It is late.").reasoning("hm")]);
    let recorder = recording(&server, &models);
    let first = Uuid::new_v4();
    let recorded_call = recorder.complete(&run(first, "2026-11-20", "call_1", 1), None).await.unwrap();
    let recorded_end = recorder.complete(&run(first, "2026-11-20", "call_1", 3), None).await.unwrap();
    drop(server);

    let model = models.resolve(&replay()).unwrap();
    let second = Uuid::new_v4();
    let replayed = model.complete(&run(second, "2027-01-01", "call_other", 1), None).await.unwrap();
    assert_eq!(replayed.message, recorded_call.message);
    assert_eq!(calls(&replayed.message), [("terminal", "{\"command\":\"date\"}")]);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
    let replayed = model.complete(&run(second, "2027-01-01", "call_other", 3), Some(sender)).await.unwrap();
    assert_eq!(replayed.message, recorded_end.message);
    assert_eq!(replayed.call.usage.model, "replay/run.jsonl");
    assert_eq!(replayed.call.usage.prompt_tokens, 100);
    let mut text = String::new();
    while let Some(delta) = receiver.recv().await {
        if let Delta::Text(piece) = delta {
            text.push_str(&piece);
        }
    }
    assert_eq!(text, "It is late.");
}

#[tokio::test]
async fn a_request_that_was_not_recorded_is_shown_where_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let models = models_in(folder.path());
    let server = ScriptedServer::start();
    server.script("m", [say("a"), say("b")]);
    let recorder = recording(&server, &models);
    let id = Uuid::new_v4();
    recorder.complete(&run(id, "2026-11-20", "c", 1), None).await.unwrap();
    recorder.complete(&run(id, "2026-11-20", "c", 3), None).await.unwrap();

    let model = models.resolve(&replay()).unwrap();
    let mut other = run(id, "2026-11-20", "c", 3);
    other.messages[2] = Arc::new(result_of("c", "terminal", "something else"));
    let error = model.complete(&other, None).await.unwrap_err();
    assert_eq!(error.code(), "LLMBadRequestError");
    for word in ["message 3", "recorded tool message", "tool: \"something else\""] {
        assert!(error.detail.contains(word), "{error}");
    }
    let mut longer = run(id, "2026-11-20", "c", 3);
    longer.messages.push(Arc::new(user("and now?")));
    let error = model.complete(&longer, None).await.unwrap_err();
    assert!(error.detail.contains("message 4 is not in the recording: user: \"and now?\""), "{error}");
    let error = model.complete(&run(id, "2026-11-20", "c", 2), None).await.unwrap_err();
    assert!(error.detail.contains("only in longer requests"), "{error}");
    let mut toolless = run(id, "2026-11-20", "c", 1);
    toolless.tools = Arc::new([]);
    let error = model.complete(&toolless, None).await.unwrap_err();
    assert!(error.detail.contains("its tools differ"), "{error}");
}

#[tokio::test]
async fn the_same_request_is_answered_in_order_for_each_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let models = models_in(folder.path());
    let server = ScriptedServer::start();
    server.script("m", [say("a"), say("b"), say("c"), say("d")]);
    let recorder = recording(&server, &models);
    for length in [1, 1, 3, 3] {
        recorder.complete(&run(Uuid::new_v4(), "2026-11-20", "c", length), None).await.unwrap();
    }
    let model = models.resolve(&replay()).unwrap();
    let (left, right) = (Uuid::new_v4(), Uuid::new_v4());
    let mut answers = Vec::new();
    for (id, length) in [(left, 1), (right, 1), (left, 3), (left, 1), (left, 3), (right, 1), (left, 1)] {
        answers.push(model.complete(&run(id, "2026-11-20", "c", length), None).await.unwrap().message.text());
    }
    assert_eq!(answers, ["a", "a", "c", "b", "d", "b", "b"]);
}

#[tokio::test]
async fn an_answer_with_something_like_a_key_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let models = models_in(folder.path());
    let server = ScriptedServer::start();
    server.script("m", [say("import sk-learn-contrib"), say("done")]);
    let recorder = recording(&server, &models);
    converse(&*recorder).await;
    assert_eq!(converse(&*models.resolve(&replay()).unwrap()).await, "done");
}

/// Asks twice, the second time with the first answer, and gives the second.
async fn converse(model: &dyn longshore_llm::Model) -> String {
    let mut conversation = request([user("go")]);
    let first = model.complete(&conversation, None).await.unwrap();
    conversation.messages.push(Arc::new(first.message));
    model.complete(&conversation, None).await.unwrap().message.text()
}

#[tokio::test]
async fn a_full_recording_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = ScriptedServer::start();
    server.script("m", [say("a")]);
    fs::File::create(folder.path().join("run.jsonl")).unwrap().set_len(64 << 20).unwrap();
    let recorder = recording(&server, &models_in(folder.path()));
    let error = recorder.complete(&request([user("go")]), None).await.unwrap_err();
    assert!(error.detail.contains("the recording is full"), "{error}");
}

#[tokio::test]
async fn concurrent_conversations_record_whole_lines_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let models = models_in(folder.path());
    let server = ScriptedServer::start();
    let key = "the-secret-key-of-this-test";
    let long = "x".repeat(20_000);
    server.respond("m", move |_| say(format!("the key is {key} {long}")));
    let llm = Llm { model: "record/run.jsonl+openai/m".to_owned(), api_key: Some(Secret::new(key)), ..server.llm("m") };
    let asking = (0..20).map(|number| {
        let model = models.resolve(&llm).unwrap();
        tokio::spawn(async move {
            let answer = model.complete(&request([user(&format!("question {number}"))]), None).await.unwrap();
            assert!(answer.message.text().contains("the-secret-key"), "the conversation itself is not changed");
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    let recorded = fs::read_to_string(folder.path().join("run.jsonl")).unwrap();
    assert!(!recorded.contains(key) && !recorded.contains("question"));
    let model = models.resolve(&replay()).unwrap();
    for number in 0..20 {
        model.complete(&request([user(&format!("question {number}"))]), None).await.unwrap();
    }
}

#[test]
fn damaged_recordings_and_impossible_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.jsonl"), "\n{\"request\": []}\n").unwrap();
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    let models = models_in(folder.path());
    let check = |model: &str, says: &str| {
        let error = models.resolve(&Llm { model: model.to_owned(), ..Llm::default() }).unwrap_err();
        assert!(error.detail.contains(says), "{error}");
    };
    check("replay/run.jsonl", "mistake in line 2");
    check("replay/empty.jsonl", "is empty");
    check("record/run.jsonl", "record/<file>+<model>");
    check("record/run.jsonl+record/x+openai/m", "cannot be recorded");
    check("record/../run.jsonl+ollama/m", "relative name");
    check("record/run.jsonl+mystery", "names no known provider");
}
