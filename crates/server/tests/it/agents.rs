//! Conversations for tests: how they are made, what is said in them, and waiting for what comes of it.

use longshore_testkit::{Reply, call};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{Said, Socket, TestServer, answer, until};

/// The path of conversations.
pub(crate) const CONVERSATIONS: &str = "/api/conversations";

impl TestServer {
    /// The body that makes a conversation of a model with a terminal, in a folder of its own. `more` replaces fields.
    pub(crate) fn wish(&self, model: &str, more: Value) -> Value {
        let mut wish = json!({
            "agent": {"kind": "Agent", "tools": [{"name": "terminal"}], "llm": {
                "model": format!("openai/{model}"), "base_url": self.provider().url(), "api_key": "sk-test-key",
                "num_retries": 0, "usage_id": "agent",
            }},
            "workspace": {"working_dir": self.path(&uuid::Uuid::new_v4().simple().to_string())},
            "autotitle": false,
        });
        merge(&mut wish, more);
        wish
    }

    /// Makes a conversation and returns what the server says of it.
    pub(crate) async fn make(&self, model: &str, more: Value) -> Value {
        let (status, info) = answer(self.post(CONVERSATIONS).json(&self.wish(model, more))).await;
        assert_eq!(status, StatusCode::CREATED, "{info}");
        info
    }

    /// Makes a conversation and returns its path.
    pub(crate) async fn create(&self, model: &str, more: Value) -> String {
        let info = self.make(model, more).await;
        format!("{CONVERSATIONS}/{}", info["id"].as_str().unwrap())
    }

    /// Makes a conversation whose agent answers so, and lets it come to its end.
    pub(crate) async fn finished(&self, model: &str, replies: impl IntoIterator<Item = Reply>) -> String {
        self.provider().script(model, replies);
        let conversation = self.create(model, json!({})).await;
        self.say(&conversation, "go").await;
        self.until_status(&conversation, "finished").await;
        conversation
    }

    /// Makes a conversation whose agent runs until it is told to stop.
    pub(crate) async fn busy(&self, model: &str) -> String {
        self.provider().script(model, [call("terminal", json!({"command": "touch begun; sleep 40"}))]);
        let info = self.make(model, json!({})).await;
        let conversation = format!("{CONVERSATIONS}/{}", info["id"].as_str().unwrap());
        self.say(&conversation, "go").await;
        let sign = std::path::Path::new(info["workspace"]["working_dir"].as_str().unwrap()).join("begun");
        until(async || sign.exists().then_some(())).await;
        conversation
    }

    /// Says something and begins a run.
    pub(crate) async fn say(&self, conversation: &str, text: &str) {
        let (status, body) = answer(self.post(&format!("{conversation}/events")).json(&message(text))).await;
        assert_eq!((status, &body), (StatusCode::OK, &json!({"success": true})));
    }

    /// The answer to a request with this body.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.post(path).json(body)).await
    }

    /// What the server says of something that is there.
    pub(crate) async fn look(&self, path: &str) -> Value {
        let (status, body) = answer(self.get(path)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Waits until the conversation does this, and returns what the server then says of it.
    pub(crate) async fn until_status(&self, conversation: &str, status: &str) -> Value {
        until(async || {
            let info = self.look(conversation).await;
            (info["execution_status"] == status).then_some(info)
        })
        .await
    }

    /// All events of a conversation, page by page.
    pub(crate) async fn events(&self, conversation: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut path = format!("{conversation}/events/search");
        loop {
            let page = self.look(&path).await;
            events.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next_page_id"].as_str() else { return events };
            path = format!("{conversation}/events/search?page_id={next}");
        }
    }

    /// A socket on the events of a conversation.
    pub(crate) async fn follow(&self, conversation: &str, query: &str) -> Socket {
        self.socket(&events_path(conversation, query)).await
    }
}

/// The path of a conversation's events socket.
pub(crate) fn events_path(conversation: &str, query: &str) -> String {
    format!("{}{query}", conversation.replace(CONVERSATIONS, "/sockets/events"))
}

impl Socket {
    /// Frames up to the first that is wanted.
    pub(crate) async fn until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Said::Json(frame) => frames.push(frame),
                Said::Closed(code) => panic!("closed with {code} after {:?}", kinds(&frames)),
            }
            if is_wanted(frames.last().unwrap()) {
                return frames;
            }
        }
    }

    /// Frames up to the whole state of a conversation that does this.
    pub(crate) async fn until_settled(&mut self, status: &str) -> Vec<Value> {
        self.until(|frame| is_state(frame) && frame["value"]["execution_status"] == status).await
    }

    /// How it ends, whatever comes before.
    pub(crate) async fn until_closed(&mut self) -> u16 {
        loop {
            if let Said::Closed(code) = self.next().await {
                return code;
            }
        }
    }
}

/// A message that begins a run.
pub(crate) fn message(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}], "run": true})
}

/// Whether an event is the whole state.
pub(crate) fn is_state(event: &Value) -> bool {
    event["kind"] == "ConversationStateUpdateEvent" && event["key"] == "full_state"
}

/// Kinds of events, with keys of state updates.
pub(crate) fn kinds(events: &[Value]) -> Vec<String> {
    let kind = |event: &Value| match event["key"].as_str() {
        Some(key) => key.to_owned(),
        None => event["kind"].as_str().unwrap_or_default().to_owned(),
    };
    events.iter().map(kind).collect()
}

/// Ids of events.
pub(crate) fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Puts the fields of one object into another, at any depth.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
