//! Models that play a script: for demonstrations and for tests of agents without a network.
//!
//! A script is a list of turns. Which one plays is told by the conversation itself: the one after as many as the request
//! has answers of the model. So a conversation goes on rightly after a restart, and any number of conversations can play
//! one script at a time. Only errors need a memory, because they leave no trace in the conversation: each plays once per
//! conversation, as long as the model is in memory.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use longshore_outbound::StatusCode;
use longshore_protocol::{
    Content, ConversationId, Llm, Message, Role, ToolCall, message::CallOrigin, metrics::TokenUsage,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use crate::{
    Delta, Error, Model, Request, Response,
    chat::{call, hand_on},
    estimate::{Estimate, USUAL_OUTPUT},
    failure::Refusal,
    files,
    mask::Mask,
    price::PriceList,
    retry::{Policy, Retries},
};

/// The most turns of a script.
const TURN_LIMIT: usize = 10_000;

/// The longest delay of a turn, in milliseconds.
const DELAY_LIMIT: u64 = 10 * 60 * 1000;

/// The most conversations whose errors are remembered.
const MEMORY: usize = 1000;

/// What a scripted model says at one point.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// What it says.
    pub text: Option<String>,
    /// What it thinks.
    pub reasoning: Option<String>,
    /// What it wants done.
    pub tool_calls: Vec<TurnCall>,
    /// How long it takes.
    pub delay_ms: u64,
    /// It fails instead, once; then the turn after it plays.
    pub error: Option<TurnError>,
    /// What it counts; without, nothing.
    pub usage: TurnUsage,
    /// It plays for the rest of the conversation. Only the last turn can.
    pub repeat: bool,
}

/// A call of a tool in a script.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnCall {
    /// The tool.
    pub name: String,
    /// An object, or a text that is sent as it is: also one that is no JSON.
    #[serde(default = "no_arguments")]
    pub arguments: Value,
}

/// A failure in a script.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnError {
    /// The HTTP status.
    pub status: u16,
    /// What the provider says.
    #[serde(default)]
    pub message: String,
}

/// Token counts in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnUsage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Tokens read from a cache.
    pub cache_read_tokens: u64,
    /// Tokens written to a cache.
    pub cache_write_tokens: u64,
    /// Tokens spent on reasoning.
    pub reasoning_tokens: u64,
}

fn no_arguments() -> Value {
    Value::Object(Map::new())
}

impl Turn {
    /// A turn that says something.
    pub fn say(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A turn that calls a tool.
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(name, arguments)
    }

    /// The same turn with one more call.
    #[must_use]
    pub fn and_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls.push(TurnCall { name: name.into(), arguments });
        self
    }

    /// The same turn after a while.
    #[must_use]
    pub fn after_ms(mut self, delay: u64) -> Self {
        self.delay_ms = delay;
        self
    }

    fn check(&self, is_last: bool) -> Result<(), (&'static str, &'static str)> {
        let has_answer = self.text.is_some() || self.reasoning.is_some() || !self.tool_calls.is_empty();
        if let Some(error) = &self.error {
            let is_failure = StatusCode::from_u16(error.status).is_ok_and(|status| !status.is_success());
            if !is_failure {
                return Err(("error.status", "must be an HTTP status of a failure, such as 429"));
            }
            if has_answer || self.repeat {
                return Err(("error", "cannot stand beside text, reasoning, tool_calls or repeat"));
            }
        } else if !has_answer {
            return Err(("text", "is missing: a turn needs text, reasoning, tool_calls or error"));
        }
        if self.tool_calls.iter().any(|call| call.name.trim().is_empty()) {
            return Err(("tool_calls", "has a call without a name"));
        }
        if !self.tool_calls.iter().all(|call| call.arguments.is_object() || call.arguments.is_string()) {
            return Err(("tool_calls", "has arguments that are neither an object nor a text"));
        }
        if self.delay_ms > DELAY_LIMIT {
            return Err(("delay_ms", "must be at most 600000, which is ten minutes"));
        }
        if self.repeat && !is_last {
            return Err(("repeat", "is possible only in the last turn"));
        }
        Ok(())
    }
}

/// Reads a script. `name` is for messages.
fn parse(name: &str, text: &str) -> Result<Vec<Turn>, Error> {
    let bad = |what: String| Error::bad_request(format!("The script {name:?} {what}."));
    let turns: Vec<Value> =
        serde_json::from_str(text).map_err(|error| bad(format!("is no JSON list of turns: {error}")))?;
    if turns.is_empty() || turns.len() > TURN_LIMIT {
        return Err(bad(format!("has {} turns; possible are 1 to {TURN_LIMIT}", turns.len())));
    }
    let last = turns.len();
    let read = |(index, turn): (usize, Value)| {
        let number = index + 1;
        let turn: Turn = serde_path_to_error::deserialize(turn).map_err(|error| {
            let (field, cause) = (error.path().to_string(), error.inner());
            bad(format!("has a mistake in turn {number}, field {field:?}: {cause}"))
        })?;
        turn.check(number == last)
            .map_err(|(field, why)| bad(format!("has a mistake in turn {number}: {field} {why}")))?;
        Ok(turn)
    };
    turns.into_iter().enumerate().map(read).collect()
}

/// A model that plays a script.
#[derive(Debug)]
pub(crate) struct Scripted {
    turns: Vec<Turn>,
    name: String,
    usage_id: String,
    streams: bool,
    prices: PriceList,
    limit: Option<u64>,
    policy: Policy,
    /// How many errors each conversation has had.
    failed: Mutex<BTreeMap<ConversationId, usize>>,
}

impl Scripted {
    pub(crate) fn new(llm: &Llm, turns: Vec<Turn>) -> Self {
        Self {
            turns,
            name: llm.model.clone(),
            usage_id: llm.usage_id.clone(),
            streams: llm.stream,
            prices: PriceList::of_script(llm),
            limit: llm.max_output_tokens,
            policy: Policy::of(llm),
            failed: Mutex::default(),
        }
    }

    /// Reads the script from a file of the folder.
    pub(crate) fn open(llm: &Llm, folder: &Path, file: &str) -> Result<Self, Error> {
        Ok(Self::new(llm, parse(file, &files::read(folder, file)?)?))
    }

    /// The turn for a conversation in this state, and whether it is an error.
    fn turn(&self, request: &Request) -> Result<&Turn, Error> {
        let answered = request.messages.iter().filter(|message| message.role == Role::Assistant).count();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = failed.get(&request.conversation).copied().unwrap_or(0);
        let mut answers = 0;
        let mut errors = 0;
        for turn in &self.turns {
            if turn.error.is_some() {
                errors += 1;
                // Errors before the point that the conversation has reached have been played, maybe before a restart.
                if answers == answered && errors > failures {
                    if failed.len() >= MEMORY && !failed.contains_key(&request.conversation) {
                        failed.pop_first();
                    }
                    failed.insert(request.conversation, errors);
                    return Ok(turn);
                }
                continue;
            }
            if answers == answered || turn.repeat {
                return Ok(turn);
            }
            answers += 1;
        }
        Err(Error::bad_request(format!(
            "The script of {} has {answers} answers and the conversation asks for another one: add a turn, or set \"repeat\": \
             true in the last one.",
            self.name
        )))
    }

    async fn play(&self, request: &Request, deltas: Option<&mpsc::Sender<Delta>>) -> Result<Response, Error> {
        let start = Instant::now();
        let turn = self.turn(request)?;
        if turn.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(turn.delay_ms)).await;
        }
        if let Some(TurnError { status, message }) = &turn.error {
            let status = StatusCode::from_u16(*status).ok();
            let mut error =
                Refusal { status, body: message, retry_after: None }.meaning("The script", &Mask::default());
            // A demonstration should not wait as long as it would for a provider.
            error.retry_after = Some(Duration::ZERO);
            return Err(error);
        }
        let message = message(turn);
        if let Some(deltas) = deltas {
            send_pieces(&message, deltas).await;
        }
        let id = format!("chatcmpl-{}", Uuid::new_v4().simple());
        let usage = usage(turn.usage, &self.name, &id);
        let cost = self.prices.cost(&usage);
        Ok(Response { id, message, call: call(&self.usage_id, usage, cost, start.elapsed()) })
    }
}

#[async_trait]
impl Model for Scripted {
    async fn complete(&self, request: &Request, deltas: Option<mpsc::Sender<Delta>>) -> Result<Response, Error> {
        let deltas = deltas.filter(|_| self.streams);
        let mut retries = Retries::new(self.policy);
        loop {
            match self.play(request, deltas.as_ref()).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    let may_be_billed = error.may_be_billed();
                    retries.after(error).await?;
                    request.again(may_be_billed).await?;
                }
            }
        }
    }

    fn estimate(&self, request: &Request) -> Estimate {
        let limit = self.limit.or(request.max_output_tokens).unwrap_or(USUAL_OUTPUT);
        Estimate::new(request, limit, &self.prices)
    }
}

fn message(turn: &Turn) -> Message {
    let calls: Vec<_> = turn.tool_calls.iter().map(tool_call).collect();
    let text = turn.text.as_deref().unwrap_or_default();
    let content = if text.is_empty() && !calls.is_empty() { Vec::new() } else { vec![Content::text(text)] };
    Message {
        tool_calls: (!calls.is_empty()).then_some(calls),
        reasoning_content: turn.reasoning.clone(),
        ..Message::new(Role::Assistant, content)
    }
}

fn tool_call(call: &TurnCall) -> ToolCall {
    ToolCall {
        id: format!("call_{}", Uuid::new_v4().simple()),
        responses_item_id: None,
        name: call.name.clone(),
        arguments: call.arguments.as_str().map_or_else(|| call.arguments.to_string(), str::to_owned),
        origin: CallOrigin::Completion,
    }
}

fn usage(usage: TurnUsage, model: &str, response_id: &str) -> TokenUsage {
    let TurnUsage { prompt_tokens, completion_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } = usage;
    TokenUsage {
        model: model.to_owned(),
        prompt_tokens,
        completion_tokens,
        cache_read_tokens,
        cache_write_tokens,
        reasoning_tokens,
        context_window: 0,
        per_turn_token: prompt_tokens.saturating_add(completion_tokens),
        response_id: response_id.to_owned(),
    }
}

/// Sends a message that is already complete as if it were being written: a few words at a time.
pub(crate) async fn send_pieces(message: &Message, deltas: &mpsc::Sender<Delta>) {
    let reasoning = message.reasoning_content.as_deref().unwrap_or_default();
    for piece in pieces(reasoning) {
        hand_on(Some(deltas), Delta::Reasoning(piece.to_owned())).await;
    }
    for piece in pieces(&message.text()) {
        hand_on(Some(deltas), Delta::Text(piece.to_owned())).await;
    }
}

/// At most about eight pieces, cut after spaces.
fn pieces(text: &str) -> Vec<&str> {
    const PIECES: usize = 8;
    let least = text.len().div_ceil(PIECES).max(1);
    let mut pieces = Vec::with_capacity(PIECES);
    let mut start = 0;
    for (end, _) in text.match_indices(char::is_whitespace) {
        let end = end + text[end..].chars().next().map_or(0, char::len_utf8);
        if end - start >= least {
            pieces.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_mistake(script: &str, says: &[&str]) {
        let error = parse("demo.json", script).unwrap_err();
        for word in ["demo.json"].iter().chain(says) {
            assert!(error.detail.contains(word), "{error} does not say {word:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        check_mistake("{", &["no JSON list"]);
        check_mistake("{}", &["no JSON list"]);
        check_mistake("[]", &["0 turns"]);
        check_mistake(r#"[{"text": "a"}, {"txt": "b"}]"#, &["turn 2", "txt"]);
        check_mistake(r#"[{"text": 1}]"#, &["turn 1", "text"]);
        check_mistake(r#"[{"tool_calls": [{"nam": "x"}]}]"#, &["turn 1", "tool_calls[0]"]);
        check_mistake(r#"[{"tool_calls": [{"name": " "}]}]"#, &["without a name"]);
        check_mistake(r#"[{"tool_calls": [{"name": "x", "arguments": 3}]}]"#, &["turn 1", "arguments"]);
        check_mistake("[{}]", &["turn 1", "text"]);
        check_mistake(r#"[{"error": {"status": 200}}]"#, &["error.status"]);
        check_mistake(r#"[{"error": {"status": 500}, "text": "x"}]"#, &["beside"]);
        check_mistake(r#"[{"text": "x", "delay_ms": 600001}]"#, &["delay_ms"]);
        check_mistake(r#"[{"text": "x", "repeat": true}, {"text": "y"}]"#, &["turn 1", "repeat"]);
    }

    #[test]
    fn a_script_is_read() {
        let script = r#"[
            {"text": "a", "tool_calls": [{"name": "terminal", "arguments": {"command": "ls"}}, {"name": "think"}]},
            {"error": {"status": 429, "message": "slow"}},
            {"tool_calls": [{"name": "terminal", "arguments": "{broken"}], "usage": {"prompt_tokens": 3}, "delay_ms": 5},
            {"text": "b", "reasoning": "c", "repeat": true}
        ]"#;
        let turns = parse("demo.json", script).unwrap();
        let first =
            Turn::say("a").and_call("terminal", serde_json::json!({"command": "ls"})).and_call("think", no_arguments());
        assert_eq!(turns[0], first);
        assert_eq!(turns[2].tool_calls[0].arguments, "{broken");
        assert_eq!(turns.len(), 4);
    }

    #[test]
    fn pieces_make_the_whole() {
        for text in ["", "one", "a few words to say", &"word ".repeat(100), "ein\u{a0}Wört\u{2003}chen noch"] {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.len() <= 9, "{pieces:?}");
        }
        assert!(pieces("a few words to say").len() > 1);
    }
}
