//! Values to store.

use std::sync::Arc;

use indexmap::IndexMap;
use longshore_protocol::{
    Agent, Content, ConversationId, Event, EventTime, Llm, Message, Role, Secret, Source, UtcTime,
    agent::{SecretSource, StaticSecret},
    bash::{BashCommand, BashEvent, BashOutput},
    conversation::{Definition, ExecutionStatus, LocalWorkspace, Progress},
    event::{EventBody, MessageEvent, PauseEvent},
    metrics::{Call, TokenUsage},
    secret::Opaque,
};
use longshore_store::{AuditEntry, Commit, NewConversation, NewEvent, Owner};
use serde_json::json;
use uuid::Uuid;

/// In no other place but a secret, so that it can be looked for in files.
pub(crate) const API_KEY: &str = "sk-plain-text-that-must-not-be-on-disk";

pub(crate) fn owner(name: &str) -> Owner {
    Owner(name.into())
}

pub(crate) fn id() -> ConversationId {
    ConversationId(Uuid::new_v4())
}

/// Seconds after a fixed moment.
pub(crate) fn time(seconds: i64) -> UtcTime {
    UtcTime(jiff::Timestamp::new(1_763_596_800 + seconds, 123_456_000).unwrap())
}

pub(crate) fn definition() -> Definition {
    let llm: Llm =
        serde_json::from_value(json!({"model": "openai/gpt-5", "api_key": API_KEY, "timeout": null})).unwrap();
    Definition {
        agent: Agent::new(llm, Vec::new()),
        workspace: LocalWorkspace::new("/work place"),
        max_iterations: 7,
        stuck_detection: false,
        client_tools: Vec::new(),
        tool_module_qualnames: IndexMap::from([("a".to_owned(), "b.c".to_owned())]),
        agent_definitions: vec![Opaque(json!({"name": "helper", "x": null}))],
        plugins: None,
        hook_config: Some(Opaque(json!({"stop": []}))),
        user_id: Some("somebody".to_owned()),
        autotitle: true,
    }
}

pub(crate) fn secret(value: &str) -> SecretSource {
    StaticSecret { description: Some("for tests".to_owned()), value: Some(Secret::new(value)) }.into()
}

pub(crate) fn progress(execution_status: ExecutionStatus) -> Progress {
    Progress { execution_status, ..Progress::default() }
}

pub(crate) fn conversation(owner: &Owner) -> NewConversation {
    NewConversation {
        id: id(),
        owner: owner.clone(),
        created_at: time(0),
        parent: None,
        workspace: None,
        definition: definition(),
        progress: Progress::default(),
        tags: IndexMap::from([("team".to_owned(), "blue".to_owned())]),
        secrets: IndexMap::from([("TOKEN".to_owned(), secret(API_KEY))]),
    }
}

/// An event with a fresh id.
pub(crate) fn event(seconds: i64, source: Source, body: impl Into<EventBody>) -> NewEvent {
    let timestamp = EventTime::at(time(seconds).0, &jiff::tz::TimeZone::UTC);
    let event = Event { id: Uuid::new_v4().to_string(), timestamp, source, parent_id: None, body: body.into() };
    NewEvent { json: event.to_json().into(), event: Arc::new(event), arguments: None }
}

pub(crate) fn pause(seconds: i64) -> NewEvent {
    event(seconds, Source::User, PauseEvent {})
}

pub(crate) fn message(seconds: i64, text: &str) -> NewEvent {
    let message = Message::new(Role::User, vec![Content::text(text)]);
    event(seconds, Source::User, MessageEvent::new(message))
}

pub(crate) fn commit(expected_tail: u64, events: Vec<NewEvent>) -> Commit {
    let mut commit = Commit::new(expected_tail, time(i64::try_from(expected_tail).unwrap()));
    commit.events = events;
    commit
}

pub(crate) fn call(usage_id: &str, prompt_tokens: u64) -> Call {
    Call {
        usage_id: usage_id.to_owned(),
        usage: TokenUsage {
            model: "gpt-5".to_owned(),
            prompt_tokens,
            completion_tokens: 2,
            cache_read_tokens: 3,
            cache_write_tokens: 4,
            reasoning_tokens: 5,
            context_window: 6,
            per_turn_token: 7,
            response_id: format!("response-{prompt_tokens}"),
        },
        cost: 0.25,
        latency: 1.5,
        timestamp: 1_763_596_800.5,
    }
}

fn hex() -> String {
    Uuid::new_v4().simple().to_string()
}

pub(crate) fn bash_command(seconds: i64) -> BashCommand {
    BashCommand { command: "make".to_owned(), cwd: None, timeout: 300, id: hex(), timestamp: time(seconds) }
}

pub(crate) fn bash_output(seconds: i64, command: &BashCommand, order: u64, exit_code: Option<i32>) -> BashEvent {
    let command_id = command.id.clone();
    let stdout = Some(format!("line {order}\n"));
    BashOutput { id: hex(), timestamp: time(seconds), command_id, order, exit_code, stdout, stderr: None }.into()
}

pub(crate) fn bash_id(event: &BashEvent) -> &str {
    match event {
        BashEvent::BashCommand(event) => &event.id,
        BashEvent::BashOutput(event) => &event.id,
        BashEvent::BashError(event) => &event.id,
        BashEvent::Unknown(_) => "",
    }
}

/// What `actor` did `seconds` after a fixed moment.
pub(crate) fn audit(seconds: i64, actor: &str, action: &str) -> AuditEntry {
    AuditEntry {
        actor: Some(actor.to_owned()),
        key: Some("k1".to_owned()),
        address: Some("198.51.100.7".to_owned()),
        request: Some(format!("request-{seconds}")),
        target_kind: Some("conversation".to_owned()),
        target: Some(format!("c{seconds}")),
        owner: Some(actor.to_owned()),
        status: Some(201),
        details: serde_json::Map::from_iter([("route".to_owned(), json!("/x")), ("n".to_owned(), json!(seconds))]),
        ..AuditEntry::new(time(seconds), action)
    }
}
