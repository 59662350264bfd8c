//! The body of a chat completion request, written straight from the conversation's messages (contract: agent §2.5, §2.8,
//! §2.9; server B.7).
//!
//! A long conversation is sent again with each step, so nothing is copied on the way: the messages are borrowed and the
//! JSON goes into one buffer of about the right size.

use std::borrow::Cow;

use longshore_protocol::{Content, Llm, Message, Role, ToolCall, tool::ToolSchema};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Map, Value, json};

use crate::{Request, features::Features, provider::Provider};

/// The most characters of a tool's text that a model is sent.
const TOOL_TEXT_LIMIT: usize = 50_000;

/// Stands where a tool's text was cut.
const CUT: &str = "\n[… the middle of this result was left out because it is too long …]\n";

/// The most tokens that Claude's models with a thinking budget write.
const THINKING_OUTPUT_LIMIT: u64 = 64_000;

/// Tokens that an answer is taken to have where the configuration's extra fields take its limit away.
const UNLIMITED_OUTPUT: u64 = 128_000;

/// What is the same in every request to a model.
#[derive(Debug)]
pub(crate) struct Body {
    model: String,
    features: Features,
    limit_field: &'static str,
    limit: Option<u64>,
    effort: Option<String>,
    thinking: Option<Value>,
    seed: Option<i64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<f64>,
    is_openrouter: bool,
    extra: Map<String, Value>,
}

impl Body {
    pub(crate) fn new(llm: &Llm, provider: &Provider, model: &str) -> Self {
        let features = Features::of(provider, llm);
        let thinking_limit = llm.max_output_tokens.unwrap_or(THINKING_OUTPUT_LIMIT);
        let budget = llm.extended_thinking_budget.map(|budget| budget.min(thinking_limit.saturating_sub(1)));
        let thinking = budget
            .filter(|budget| features.thinking && *budget > 0)
            .map(|budget| json!({"type": "enabled", "budget_tokens": budget}));
        // A model that thinks takes no sampling parameters, and its budget needs a limit above it.
        let takes_sampling = features.sampling && thinking.is_none();
        let sampling = |value: Option<f64>| value.filter(|value| takes_sampling && value.is_finite());
        Self {
            model: model.to_owned(),
            features,
            limit_field: if thinking.is_some() { "max_tokens" } else { provider.limit_field() },
            limit: llm.max_output_tokens.or(thinking.is_some().then_some(thinking_limit)),
            effort: llm.reasoning_effort.clone().filter(|effort| features.effort && !effort.is_empty()),
            thinking,
            seed: llm.seed,
            temperature: sampling(llm.temperature),
            top_p: sampling(llm.top_p),
            top_k: sampling(llm.top_k),
            is_openrouter: provider.is_openrouter(),
            extra: llm.litellm_extra_body.clone(),
        }
    }

    /// Whether the model is asked to think within a budget.
    pub(crate) const fn thinks(&self) -> bool {
        self.thinking.is_some()
    }

    /// The most tokens that the answer to a request can have; nothing if there is no limit.
    pub(crate) fn output_limit(&self, request: &Request) -> Option<u64> {
        let extra = |name: &str| self.extra.get(name).map(|value| value.as_u64().unwrap_or(UNLIMITED_OUTPUT));
        let limits = [extra("max_tokens"), extra("max_completion_tokens"), self.limit.or(request.max_output_tokens)];
        let answers = extra("n").unwrap_or(1).max(1);
        limits.into_iter().flatten().max().map(|limit| limit.saturating_mul(answers))
    }

    /// The temperature that the configuration asks for.
    pub(crate) const fn temperature(&self) -> Option<f64> {
        self.temperature
    }

    /// The body of one request.
    ///
    /// # Errors
    /// None that is known: everything in it can be written as JSON.
    pub(crate) fn write(
        &self,
        request: &Request,
        stream: bool,
        temperature: Option<f64>,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let mut buffer = Vec::with_capacity(expected_size(request));
        let filled = Filled { body: self, request, stream, temperature };
        serde_json::to_writer(&mut buffer, &filled)?;
        Ok(buffer)
    }
}

/// A little more than the texts take, so that the buffer seldom grows.
fn expected_size(request: &Request) -> usize {
    let messages = request.messages.iter().map(|message| {
        let parts = message.content.iter().map(|part| match part {
            Content::Text(text) => text.text.len() + text.text.len() / 16,
            Content::Image(image) => image.image_urls.iter().map(String::len).sum(),
        });
        let calls = message.tool_calls.iter().flatten().map(|call| call.arguments.len() * 5 / 4 + 128);
        parts.sum::<usize>() + calls.sum::<usize>() + 128
    });
    messages.sum::<usize>() + request.tools.len() * 2048 + 1024
}

struct Filled<'a> {
    body: &'a Body,
    request: &'a Request,
    stream: bool,
    temperature: Option<f64>,
}

impl Serialize for Filled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { body, request, stream, temperature } = self;
        let mut map = Fields { map: serializer.serialize_map(None)?, extra: &body.extra };
        map.put("messages", &Messages { messages: &request.messages, features: body.features })?;
        map.put("model", &body.model)?;
        map.put_some(body.limit_field, body.limit.or(request.max_output_tokens))?;
        if body.features.cache_key {
            map.put("prompt_cache_key", &request.conversation)?;
        }
        map.put_some("reasoning_effort", body.effort.as_ref())?;
        map.put_some("seed", body.seed)?;
        if body.is_openrouter {
            map.put("session_id", &request.conversation)?;
        }
        if *stream {
            map.put("stream", &true)?;
            map.put("stream_options", &json!({"include_usage": true}))?;
        }
        map.put_some("temperature", *temperature)?;
        map.put_some("thinking", body.thinking.as_ref())?;
        if !request.tools.is_empty() {
            map.put("tools", &Tools(&request.tools))?;
        }
        map.put_some("top_k", body.top_k)?;
        map.put_some("top_p", body.top_p)?;
        if body.is_openrouter {
            map.put("usage", &json!({"include": true}))?;
        }
        for (name, value) in &body.extra {
            map.map.serialize_entry(name, value)?;
        }
        map.map.end()
    }
}

/// Fields of the body; the configuration's extra fields stand in the place of ours.
struct Fields<'a, M> {
    map: M,
    extra: &'a Map<String, Value>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), M::Error> {
        if self.extra.contains_key(name) { Ok(()) } else { self.map.serialize_entry(name, value) }
    }

    fn put_some<T: Serialize>(&mut self, name: &str, value: Option<T>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, &value))
    }
}

struct Messages<'a> {
    messages: &'a [std::sync::Arc<Message>],
    features: Features,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let latest = self.messages.iter().rposition(|message| matches!(message.role, Role::User | Role::Tool));
        let first = self.messages.iter().position(|message| message.role == Role::System);
        let mut list = serializer.serialize_seq(Some(self.messages.len()))?;
        for (index, message) in self.messages.iter().enumerate() {
            let mark = match index {
                _ if !self.features.cache_marks => None,
                index if Some(index) == first => Some(Mark::First),
                index if Some(index) == latest => Some(Mark::Last),
                _ => None,
            };
            list.serialize_element(&Wire { message, features: self.features, mark })?;
        }
        list.end()
    }
}

/// Which part of a message gets the mark for the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// The instructions begin with what is the same for every conversation.
    First,
    /// All of the conversation so far.
    Last,
}

struct Wire<'a> {
    message: &'a Message,
    features: Features,
    mark: Option<Mark>,
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, features, mark } = self;
        let calls = message.tool_calls.as_deref().filter(|calls| message.role == Role::Assistant && !calls.is_empty());
        let mut map = serializer.serialize_map(None)?;
        let parts = self.parts(calls.is_some());
        let has_image = parts.iter().any(|part| matches!(part.kind, PartKind::Image(_)));
        if features.text && !has_image {
            let texts: Vec<_> = parts.iter().filter_map(Part::text).collect();
            if calls.is_none() || !texts.is_empty() {
                map.serialize_entry("content", &texts.join("\n"))?;
            }
        } else if !parts.is_empty() {
            map.serialize_entry("content", &parts)?;
        } else if calls.is_none() {
            let empty = if message.role == Role::Assistant { json!("") } else { json!([]) };
            map.serialize_entry("content", &empty)?;
        }
        map.serialize_entry("role", &message.role)?;
        if message.role == Role::Tool && mark.is_some() {
            map.serialize_entry("cache_control", &EPHEMERAL)?;
        }
        if features.thinking_blocks && message.role == Role::Assistant && !message.thinking_blocks.is_empty() {
            map.serialize_entry("thinking_blocks", &message.thinking_blocks)?;
        }
        if let Some(calls) = calls {
            map.serialize_entry("tool_calls", &Calls(calls))?;
        }
        if message.role == Role::Tool
            && let Some(id) = &message.tool_call_id
        {
            map.serialize_entry("tool_call_id", id)?;
            map.serialize_entry("name", message.name.as_deref().unwrap_or("unknown"))?;
        }
        if let Some(reasoning) = message.reasoning_content.as_deref().filter(|_| features.reasoning_content)
            && !reasoning.is_empty()
        {
            map.serialize_entry("reasoning_content", reasoning)?;
        }
        map.end()
    }
}

impl Wire<'_> {
    /// The parts that are sent. Beside tool calls, blank texts are left out: some providers refuse them.
    fn parts(&self, has_calls: bool) -> Vec<Part<'_>> {
        let Self { message, features, mark } = self;
        let mut parts = Vec::with_capacity(message.content.len());
        for content in &message.content {
            match content {
                Content::Text(text) if has_calls && text.text.trim().is_empty() => {}
                Content::Text(text) => {
                    let text = if message.role == Role::Tool { cut(&text.text) } else { Cow::Borrowed(&*text.text) };
                    parts.push(Part { kind: PartKind::Text(text), is_marked: false });
                }
                Content::Image(images) if features.images => {
                    let images = images.image_urls.iter();
                    parts.extend(images.map(|url| Part { kind: PartKind::Image(url), is_marked: false }));
                }
                Content::Image(_) => {}
            }
        }
        // The mark of a tool's result stands on the message: LiteLLM looks for it there.
        if message.role != Role::Tool {
            let marked = match mark {
                Some(Mark::First) => parts.first_mut(),
                Some(Mark::Last) => parts.last_mut(),
                None => None,
            };
            if let Some(part) = marked {
                part.is_marked = true;
            }
        }
        parts
    }
}

/// `text`, or its beginning and end if it is too long. Counted in characters.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TOOL_TEXT_LIMIT {
        return Cow::Borrowed(text);
    }
    let count = text.chars().count();
    if count <= TOOL_TEXT_LIMIT {
        return Cow::Borrowed(text);
    }
    let kept = TOOL_TEXT_LIMIT - CUT.chars().count();
    let head = kept.div_ceil(2);
    let tail = kept - head;
    let byte_of = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte);
    Cow::Owned([&text[..byte_of(head)], CUT, &text[byte_of(count - tail)..]].concat())
}

struct Part<'a> {
    kind: PartKind<'a>,
    is_marked: bool,
}

enum PartKind<'a> {
    Text(Cow<'a, str>),
    Image(&'a str),
}

impl Part<'_> {
    fn text(&self) -> Option<&str> {
        match &self.kind {
            PartKind::Text(text) => Some(text),
            PartKind::Image(_) => None,
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.kind {
            PartKind::Text(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("text", text)?;
            }
            PartKind::Image(url) => {
                map.serialize_entry("type", "image_url")?;
                map.serialize_entry("image_url", &Single("url", url))?;
            }
        }
        if self.is_marked {
            map.serialize_entry("cache_control", &EPHEMERAL)?;
        }
        map.end()
    }
}

/// An object with one field.
struct Single<'a>(&'static str, &'a str);

const EPHEMERAL: Single<'static> = Single("type", "ephemeral");

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

struct Calls<'a>(&'a [ToolCall]);

impl Serialize for Calls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Call<'a> {
            id: &'a str,
            r#type: &'static str,
            function: Function<'a>,
        }
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        serializer.collect_seq(self.0.iter().map(|ToolCall { id, name, arguments, .. }| Call {
            id,
            r#type: "function",
            function: Function { name, arguments },
        }))
    }
}

struct Tools<'a>(&'a [ToolSchema]);

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tool<'a> {
            r#type: &'static str,
            function: &'a ToolSchema,
        }
        serializer.collect_seq(self.0.iter().map(|function| Tool { r#type: "function", function }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_result_loses_its_middle() {
        assert_eq!(cut("short"), "short");
        let at_limit = "é".repeat(TOOL_TEXT_LIMIT);
        assert_eq!(cut(&at_limit), at_limit);
        let long = format!("start{}end", "é".repeat(TOOL_TEXT_LIMIT));
        let cut = cut(&long);
        assert_eq!(cut.chars().count(), TOOL_TEXT_LIMIT);
        assert!(cut.starts_with("starté") && cut.ends_with("éend") && cut.contains(CUT));
    }
}
