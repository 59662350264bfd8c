//! Reads a provider's answer, whole or in pieces, into a message (contract: agent §2.7, §2.11).
//!
//! Providers differ in what they leave out and where they put things. Whatever can be understood is.

use std::collections::HashSet;

use longshore_protocol::{
    Content, Message, Role, ToolCall,
    message::{CallOrigin, ThinkingBlock},
    metrics::TokenUsage,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{Delta, Error, ErrorKind};

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    id: Option<String>,
    text: String,
    refusal: String,
    reasoning: String,
    thinking: Vec<ThinkingBlock>,
    calls: Vec<PartialCall>,
    finish: Option<String>,
    has_choice: bool,
    usage: Value,
}

#[derive(Debug, Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) id: String,
    pub(crate) message: Message,
    /// Token counts; the model, the window and the response id are not filled in.
    pub(crate) usage: TokenUsage,
    /// US dollars, if the body tells.
    pub(crate) cost: Option<f64>,
}

impl Answer {
    /// Adds a whole answer or a piece of a streamed one, and gives the text that came with it.
    pub(crate) fn add(&mut self, piece: &Value) -> Vec<Delta> {
        if self.id.is_none() {
            self.id = text_of(&piece["id"]).map(str::to_owned);
        }
        if piece["usage"].is_object() {
            self.usage = piece["usage"].clone();
        }
        // Only the first choice counts: nobody asks for more than one.
        let Some(choice) = piece["choices"].get(0) else { return Vec::new() };
        self.has_choice = true;
        if let Some(reason) = text_of(&choice["finish_reason"]) {
            self.finish = Some(reason.to_owned());
        }
        let is_piece = choice["delta"].is_object();
        let message = if is_piece { &choice["delta"] } else { &choice["message"] };
        let mut deltas = Vec::new();
        let thinking = self.add_thinking(&message["thinking_blocks"]);
        for reasoning in [&message["reasoning_content"], &message["reasoning"]] {
            if let Some(text) = text_of(reasoning) {
                self.add_reasoning(text, &mut deltas);
                break;
            }
        }
        // Some proxies send the thinking only in blocks.
        if deltas.is_empty() && !thinking.is_empty() {
            self.add_reasoning(&thinking, &mut deltas);
        }
        self.add_content(&message["content"], &mut deltas);
        self.refusal.push_str(text_of(&message["refusal"]).unwrap_or_default());
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(call, is_piece);
        }
        deltas
    }

    /// Whether the provider said that the answer is complete.
    pub(crate) const fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The answer, if there is one.
    ///
    /// # Errors
    /// No choice at all, or a choice that the provider's filter emptied.
    pub(crate) fn complete(self) -> Result<Complete, Error> {
        if !self.has_choice {
            return Err(Error::new(ErrorKind::NoResponse, "The model answered without a choice."));
        }
        let text = if self.text.is_empty() { self.refusal } else { self.text };
        if text.is_empty() && self.calls.is_empty() && self.finish.as_deref() == Some("content_filter") {
            return Err(Error::new(ErrorKind::ContentPolicy, "The provider's content filter blocked the answer."));
        }
        let calls = complete_calls(self.calls);
        let content = if text.is_empty() && !calls.is_empty() { Vec::new() } else { vec![Content::text(text)] };
        let (usage, cost) = usage(&self.usage);
        let message = Message {
            tool_calls: (!calls.is_empty()).then_some(calls),
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            thinking_blocks: self.thinking,
            ..Message::new(Role::Assistant, content)
        };
        let id = self.id.unwrap_or_else(|| format!("chatcmpl-{}", Uuid::new_v4().simple()));
        Ok(Complete { id, message, usage, cost })
    }

    fn add_reasoning(&mut self, text: &str, deltas: &mut Vec<Delta>) {
        self.reasoning.push_str(text);
        deltas.push(Delta::Reasoning(text.to_owned()));
    }

    fn add_text(&mut self, text: &str, deltas: &mut Vec<Delta>) {
        self.text.push_str(text);
        deltas.push(Delta::Text(text.to_owned()));
    }

    /// Content is a text, or a list of texts and of thinking.
    fn add_content(&mut self, content: &Value, deltas: &mut Vec<Delta>) {
        if let Some(text) = text_of(content) {
            self.add_text(text, deltas);
        }
        for part in content.as_array().into_iter().flatten() {
            if let Some(text) = text_of(part).or_else(|| text_of(&part["text"])) {
                self.add_text(text, deltas);
            }
            let thinking = &part["thinking"];
            let inner = thinking.as_array().into_iter().flatten().map(|part| &part["text"]);
            for text in inner.chain([thinking]).filter_map(text_of) {
                self.add_reasoning(text, deltas);
            }
        }
    }

    /// Adds signed thinking and gives its readable text. A stream sends a block in pieces, the signature last.
    fn add_thinking(&mut self, blocks: &Value) -> String {
        let mut readable = String::new();
        for block in blocks.as_array().into_iter().flatten() {
            if let Some(data) = text_of(&block["data"]) {
                self.thinking.push(ThinkingBlock::RedactedThinking { data: data.to_owned() });
                continue;
            }
            let text = text_of(&block["thinking"]).unwrap_or_default();
            let signed = text_of(&block["signature"]).map(str::to_owned);
            readable.push_str(text);
            match self.thinking.last_mut() {
                Some(ThinkingBlock::Thinking { thinking, signature: signature @ None }) => {
                    thinking.push_str(text);
                    *signature = signed;
                }
                _ if text.is_empty() && signed.is_none() => {}
                _ => self.thinking.push(ThinkingBlock::Thinking { thinking: text.to_owned(), signature: signed }),
            }
        }
        readable
    }

    fn add_call(&mut self, call: &Value, is_piece: bool) {
        let function = &call["function"];
        let (id, name) = (text_of(&call["id"]), text_of(&function["name"]));
        let index = call["index"].as_u64();
        let begun = if is_piece { self.position_of(index, id, name) } else { None };
        let call = match begun {
            Some(position) => &mut self.calls[position],
            None => self.calls.push_mut(PartialCall { index, ..PartialCall::default() }),
        };
        if call.id.is_empty() {
            id.unwrap_or_default().clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            name.unwrap_or_default().clone_into(&mut call.name);
        }
        match &function["arguments"] {
            Value::String(text) => call.arguments.push_str(text),
            Value::Null => {}
            // An object instead of its text.
            other => call.arguments.push_str(&other.to_string()),
        }
    }

    /// Which call a piece belongs to: that of its index, unless it begins another one under the same index.
    fn position_of(&self, index: Option<u64>, id: Option<&str>, name: Option<&str>) -> Option<usize> {
        let position = match (index, id) {
            (Some(_), _) => self.calls.iter().rposition(|call| call.index == index)?,
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id == id)?,
            (None, None) if name.is_some() => return None,
            (None, None) => self.calls.len().checked_sub(1)?,
        };
        let begins_another =
            name.is_some() && id.is_some_and(|id| !self.calls[position].id.is_empty() && self.calls[position].id != id);
        (!begins_another).then_some(position)
    }
}

/// A text that is there and not empty.
fn text_of(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// Calls with ids of their own, names and arguments, so that results can be matched and the provider takes them back.
fn complete_calls(calls: Vec<PartialCall>) -> Vec<ToolCall> {
    let mut ids = HashSet::new();
    let complete = calls.into_iter().map(|PartialCall { id, name, arguments, .. }| {
        let id = if id.is_empty() || ids.contains(&id) { format!("call_{}", Uuid::new_v4().simple()) } else { id };
        ids.insert(id.clone());
        ToolCall {
            id,
            responses_item_id: None,
            name: if name.trim().is_empty() { "unknown".to_owned() } else { name },
            arguments: if arguments.trim().is_empty() { "{}".to_owned() } else { arguments },
            origin: CallOrigin::Completion,
        }
    });
    complete.collect()
}

/// Token counts under all the names that providers give them.
fn usage(usage: &Value) -> (TokenUsage, Option<f64>) {
    let prompt = [&usage["prompt_tokens_details"], &usage["input_tokens_details"]];
    let completion = [&usage["completion_tokens_details"], &usage["output_tokens_details"]];
    let cache_read = first(&[
        &prompt[0]["cached_tokens"],
        &prompt[1]["cached_tokens"],
        &usage["cache_read_input_tokens"],
        &usage["prompt_cache_hit_tokens"],
        &usage["cached_tokens"],
    ]);
    let cache_write = first(&[
        &prompt[0]["cache_creation_tokens"],
        &prompt[0]["cache_write_tokens"],
        &prompt[1]["cache_creation_tokens"],
        &usage["cache_creation_input_tokens"],
    ]);
    let prompt_tokens = first(&[&usage["prompt_tokens"], &usage["input_tokens"]]);
    let completion_tokens = first(&[&usage["completion_tokens"], &usage["output_tokens"]]);
    let counts = TokenUsage {
        prompt_tokens,
        completion_tokens,
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        reasoning_tokens: first(&[&completion[0]["reasoning_tokens"], &completion[1]["reasoning_tokens"]]),
        per_turn_token: prompt_tokens.saturating_add(completion_tokens),
        ..TokenUsage::default()
    };
    (counts, usage["cost"].as_f64().filter(|cost| cost.is_finite() && *cost >= 0.0))
}

/// The first count that is there; some gateways write whole numbers as floats.
fn first(places: &[&Value]) -> u64 {
    /// More than any model reads; sums of such counts stay far from overflow.
    const MOST: u64 = 1 << 40;
    let number = |value: &Value| value.as_u64().or_else(|| whole(value.as_f64()?));
    places.iter().find_map(|value| number(value)).unwrap_or(0).min(MOST)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value was checked; `as` saturates")]
fn whole(number: f64) -> Option<u64> {
    (number.is_finite() && number >= 0.0).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole_answer(message: Value) -> Complete {
        let mut answer = Answer::default();
        answer.add(&json!({"id": "r1", "choices": [{"message": message, "finish_reason": "stop"}]}));
        answer.complete().unwrap()
    }

    fn streamed(deltas: &[Value]) -> (Complete, Vec<Delta>) {
        let mut answer = Answer::default();
        let mut seen = Vec::new();
        for delta in deltas {
            seen.extend(answer.add(&json!({"choices": [{"index": 0, "delta": delta}]})));
        }
        (answer.complete().unwrap(), seen)
    }

    fn calls(complete: &Complete) -> Vec<(&str, &str, &str)> {
        let calls = complete.message.tool_calls.iter().flatten();
        calls.map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str())).collect()
    }

    #[test]
    fn content_comes_in_many_forms() {
        for (content, text) in [
            (json!("hi"), "hi"),
            (json!([{"type": "text", "text": "h"}, {"type": "output_text", "text": "i"}]), "hi"),
            (json!(["hi"]), "hi"),
            (json!(null), ""),
            (json!([]), ""),
        ] {
            assert_eq!(whole_answer(json!({"content": content})).message.text(), text, "{content}");
        }
        assert_eq!(whole_answer(json!({"refusal": "no"})).message.text(), "no");
        let thinking = whole_answer(json!({"content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "yes"},
        ]}));
        assert_eq!(thinking.message.reasoning_content.as_deref(), Some("hm"));
        assert_eq!(thinking.message.text(), "yes");
    }

    #[test]
    fn calls_are_repaired() {
        let complete = whole_answer(json!({"content": null, "tool_calls": [
            {"function": {"name": "a", "arguments": {"x": 1}}},
            {"id": "c1", "function": {"name": "b", "arguments": "{\"y\": 2}"}},
            {"id": "c1", "function": {"name": "c"}},
            {"id": "c3", "function": {"arguments": ""}},
        ]}));
        let found = calls(&complete);
        let named: Vec<_> = found.iter().map(|(_, name, arguments)| (*name, *arguments)).collect();
        assert_eq!(named, [("a", "{\"x\":1}"), ("b", "{\"y\": 2}"), ("c", "{}"), ("unknown", "{}")]);
        assert_eq!(found.iter().map(|(id, ..)| id).collect::<HashSet<_>>().len(), 4);
        assert_eq!(found[1].0, "c1");
        assert!(complete.message.content.is_empty());
    }

    #[test]
    fn pieces_of_calls_find_each_other() {
        let (complete, _) = streamed(&[
            json!({"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "a", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "b", "arguments": "{\"y\""}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":"}}]}),
            json!({"tool_calls": [{"index": 1, "function": {"arguments": ":2}"}}, {"index": 0, "function": {"arguments": "1}"}}]}),
        ]);
        assert_eq!(calls(&complete), [("c0", "a", "{\"x\":1}"), ("c1", "b", "{\"y\":2}")]);
    }

    #[test]
    fn calls_without_an_index_or_with_one_index_for_all_are_told_apart() {
        let (complete, _) = streamed(&[
            json!({"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "a", "arguments": "{}"}}]}),
            json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "b", "arguments": "{}"}}]}),
        ]);
        assert_eq!(calls(&complete), [("c0", "a", "{}"), ("c1", "b", "{}")]);
        let (complete, _) = streamed(&[
            json!({"tool_calls": [{"id": "c0", "function": {"name": "a", "arguments": "{"}}]}),
            json!({"tool_calls": [{"function": {"arguments": "}"}}]}),
            json!({"tool_calls": [{"id": "c1", "function": {"name": "a", "arguments": "{}"}}]}),
        ]);
        assert_eq!(calls(&complete), [("c0", "a", "{}"), ("c1", "a", "{}")]);
    }

    #[test]
    fn text_and_reasoning_are_handed_on_as_they_come() {
        let (complete, deltas) = streamed(&[
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "think"}),
            json!({"reasoning": "ing"}),
            json!({"content": "Hel"}),
            json!({"content": "lo"}),
        ]);
        assert_eq!(complete.message.text(), "Hello");
        assert_eq!(complete.message.reasoning_content.as_deref(), Some("thinking"));
        let expected = [
            Delta::Reasoning("think".into()),
            Delta::Reasoning("ing".into()),
            Delta::Text("Hel".into()),
            Delta::Text("lo".into()),
        ];
        assert_eq!(deltas, expected);
    }

    #[test]
    fn signed_thinking_is_put_together() {
        let (complete, deltas) = streamed(&[
            json!({"thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": null}]}),
            json!({"thinking_blocks": [{"type": "thinking", "thinking": "b"}]}),
            json!({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "sig"}]}),
            json!({"thinking_blocks": [{"type": "redacted_thinking", "data": "xyz"}]}),
            json!({"thinking_blocks": [{"type": "thinking", "thinking": "c", "signature": "sig2"}], "reasoning_content": "c"}),
        ]);
        let block = |text: &str, signature: &str| ThinkingBlock::Thinking {
            thinking: text.to_owned(),
            signature: Some(signature.to_owned()),
        };
        let redacted = ThinkingBlock::RedactedThinking { data: "xyz".to_owned() };
        assert_eq!(complete.message.thinking_blocks, [block("ab", "sig"), redacted, block("c", "sig2")]);
        assert_eq!(complete.message.reasoning_content.as_deref(), Some("abc"));
        assert_eq!(deltas.len(), 3);
    }

    #[test]
    fn usage_has_many_names() {
        let counts = |value: Value| usage(&value).0;
        let openai = counts(json!({
            "prompt_tokens": 10, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_creation_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }));
        let expected = TokenUsage {
            prompt_tokens: 10,
            completion_tokens: 5,
            cache_read_tokens: 4,
            cache_write_tokens: 3,
            reasoning_tokens: 2,
            per_turn_token: 15,
            ..TokenUsage::default()
        };
        assert_eq!(openai, expected);
        assert_eq!(counts(json!({"input_tokens": 7.0, "output_tokens": 1})).per_turn_token, 8);
        assert_eq!(counts(json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 6})).cache_read_tokens, 6);
        assert_eq!(counts(json!({"prompt_tokens": -1, "completion_tokens": "x"})), TokenUsage::default());
        assert_eq!(counts(Value::Null), TokenUsage::default());
        assert_eq!(usage(&json!({"cost": 0.25})).1, Some(0.25));
    }

    #[test]
    fn nothing_is_an_error() {
        let mut answer = Answer::default();
        answer.add(&json!({"id": "x", "choices": []}));
        assert_eq!(answer.complete().unwrap_err().kind, ErrorKind::NoResponse);
        let mut filtered = Answer::default();
        filtered.add(&json!({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}));
        assert_eq!(filtered.complete().unwrap_err().kind, ErrorKind::ContentPolicy);
    }
}
