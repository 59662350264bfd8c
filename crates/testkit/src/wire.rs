//! Chat completions as OpenAI writes them, whole and streamed.

use serde_json::{Value, json};

use crate::reply::Message;

/// The ids of an answer, which differ from answer to answer and are the same in every run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) answer: usize,
    pub(crate) first_call: usize,
}

impl Ids {
    fn answer(self) -> String {
        format!("chatcmpl-{:08x}", self.answer)
    }

    fn call(self, index: usize) -> String {
        format!("call_{:08x}", self.first_call + index)
    }
}

/// An answer in one piece.
pub(crate) fn whole(message: &Message, model: &str, ids: Ids) -> Value {
    let mut answer = json!({"role": "assistant", "content": message.text});
    if let Some(reasoning) = &message.reasoning {
        answer["reasoning_content"] = json!(reasoning);
    }
    if !message.calls.is_empty() {
        let calls = message.calls.iter().enumerate().map(|(index, (name, arguments))| {
            json!({"id": ids.call(index), "type": "function", "function": {"name": name, "arguments": arguments}})
        });
        answer["tool_calls"] = calls.collect();
    }
    json!({
        "id": ids.answer(),
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "message": answer, "finish_reason": finish(message)}],
        "usage": message.usage(),
    })
}

/// The events of a streamed answer: words one by one, the arguments of each call in two pieces, the counts if asked for.
pub(crate) fn events(message: &Message, model: &str, ids: Ids, with_usage: bool) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": ids.answer(),
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "choices": choices,
        });
        if !usage.is_null() {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null);
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
    for word in words(message.reasoning.as_deref()) {
        events.push(delta(json!({"reasoning_content": word})));
    }
    for word in words(message.text.as_deref()) {
        events.push(delta(json!({"content": word})));
    }
    for (index, (name, arguments)) in message.calls.iter().enumerate() {
        let (start, end) = arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
        let first = json!({
            "index": index, "id": ids.call(index), "type": "function", "function": {"name": name, "arguments": start},
        });
        events.push(delta(json!({"tool_calls": [first]})));
        events.push(delta(json!({"tool_calls": [{"index": index, "function": {"arguments": end}}]})));
    }
    events.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish(message)}]), Value::Null));
    if with_usage {
        events.push(chunk(json!([]), message.usage()));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn finish(message: &Message) -> &'static str {
    if message.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split_inclusive(' ')
}
