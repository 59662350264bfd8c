//! Answers of a scripted provider, as a builder.

use std::time::Duration;

use serde_json::{Value, json};

/// One answer of a scripted provider.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) content: Content,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) delay: Duration,
    pub(crate) interruption: Option<Interruption>,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Message(Message),
    Refusal { status: u16, body: String },
    Raw { content_type: String, body: Vec<u8> },
    Hang,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) text: Option<String>,
    pub(crate) reasoning: Option<String>,
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) usage: Option<Value>,
}

/// Where an answer stops, counted in the events of a stream. In an answer that is not streamed it stops in the middle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interruption {
    Cut(usize),
    Hang(usize),
}

/// The model says something.
pub fn say(text: impl Into<String>) -> Reply {
    Reply::message(Message { text: Some(text.into()), ..Message::default() })
}

/// The model calls a tool. `arguments` is an object, or a text that is sent as it is.
pub fn call(name: impl Into<String>, arguments: Value) -> Reply {
    Reply::message(Message::default()).and_call(name, arguments)
}

/// The model calls several tools at once.
pub fn calls<N: Into<String>>(calls: impl IntoIterator<Item = (N, Value)>) -> Reply {
    let reply = Reply::message(Message::default());
    calls.into_iter().fold(reply, |reply, (name, arguments)| reply.and_call(name, arguments))
}

/// The provider refuses. A body that is a text is sent as it is, anything else as JSON.
pub fn status(status: u16, body: impl Into<Value>) -> Reply {
    let body = as_text(&body.into());
    Reply::of(Content::Refusal { status, body })
}

/// The provider takes the request and says nothing, until [`ScriptedServer::release`](crate::ScriptedServer::release) is
/// called or the client hangs up. After the release it says an empty text.
pub fn hang() -> Reply {
    Reply::of(Content::Hang)
}

/// The provider sends these bytes with status 200.
pub fn raw(content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Reply {
    Reply::of(Content::Raw { content_type: content_type.into(), body: body.into() })
}

impl Reply {
    fn of(content: Content) -> Self {
        Self { content, headers: Vec::new(), delay: Duration::ZERO, interruption: None }
    }

    fn message(message: Message) -> Self {
        Self::of(Content::Message(message))
    }

    /// Also calls a tool.
    #[must_use]
    pub fn and_call(self, name: impl Into<String>, arguments: Value) -> Self {
        self.change("and_call", |message| message.calls.push((name.into(), as_text(&arguments))))
    }

    /// Also shows what the model thinks.
    #[must_use]
    pub fn reasoning(self, text: impl Into<String>) -> Self {
        self.change("reasoning", |message| message.reasoning = Some(text.into()))
    }

    /// Counts these tokens instead of 100 read and 20 written; null leaves the counts out.
    #[must_use]
    pub fn usage(self, usage: Value) -> Self {
        self.change("usage", |message| message.usage = Some(usage))
    }

    /// Sends a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Answers after a while.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Breaks the connection off after so many events of the stream.
    #[must_use]
    pub fn stream_cut_after(mut self, events: usize) -> Self {
        self.interruption = Some(Interruption::Cut(events));
        self
    }

    /// Says nothing more after so many events of the stream, until it is released or the client hangs up.
    #[must_use]
    pub fn hang_after(mut self, events: usize) -> Self {
        self.interruption = Some(Interruption::Hang(events));
        self
    }

    fn change(mut self, what: &str, change: impl FnOnce(&mut Message)) -> Self {
        match &mut self.content {
            Content::Message(message) => change(message),
            other => panic!("`{what}` makes sense only for an answer of the model, not for {other:?}"),
        }
        self
    }
}

impl Message {
    pub(crate) fn usage(&self) -> Value {
        self.usage
            .clone()
            .unwrap_or_else(|| json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}))
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
