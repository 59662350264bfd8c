//! Changes to a conversation, and the log of its model calls.

use std::sync::Arc;

use longshore_protocol::{
    ConversationId, Source,
    metrics::{Call, TokenUsage},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    codec::{Codec, id_bytes, micros, signed, unsigned},
    conversation,
    failure::{Failure, duplicate},
    usage,
};
use crate::{Commit, Error, NewEvent, Seq};

/// A [`Commit`] as columns have it.
pub(super) struct Changes {
    id: ConversationId,
    expected_tail: Seq,
    at: i64,
    events: Vec<EventRow>,
    calls: Vec<Call>,
    progress: Option<String>,
    status: Option<&'static str>,
    definition: Option<String>,
    title: Option<String>,
    tags: Option<String>,
    secrets: Option<String>,
}

struct EventRow {
    kind: String,
    source: &'static str,
    timestamp: String,
    id: String,
    json: Arc<str>,
    arguments: Option<String>,
}

impl Changes {
    pub(super) fn encode(id: ConversationId, commit: Commit, codec: &Codec) -> Result<Self, Error> {
        Ok(Self {
            id,
            expected_tail: commit.expected_tail,
            at: micros(commit.at),
            events: commit.events.into_iter().map(|event| EventRow::encode(event, codec)).collect(),
            calls: commit.calls,
            status: commit.progress.as_ref().map(|progress| progress.execution_status.as_str()),
            progress: commit.progress.as_ref().map(|progress| codec.encode(progress)).transpose()?,
            definition: commit.definition.as_ref().map(|definition| codec.encode(definition)).transpose()?,
            title: commit.title,
            tags: commit.tags.as_ref().map(|tags| codec.encode(tags)).transpose()?,
            secrets: commit.secrets.as_ref().map(|secrets| codec.encode(secrets)).transpose()?,
        })
    }
}

impl EventRow {
    fn encode(new: NewEvent, codec: &Codec) -> Self {
        Self {
            kind: new.event.kind().to_owned(),
            source: source_name(new.event.source),
            timestamp: new.event.timestamp.to_string(),
            id: new.event.id.clone(),
            json: new.json,
            arguments: new.arguments.as_deref().map(|arguments| codec.seal(arguments)),
        }
    }
}

/// The name of a source on the wire.
pub(super) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Agent => "agent",
        Source::User => "user",
        Source::Environment => "environment",
        Source::Hook => "hook",
    }
}

pub(super) fn apply(connection: &Connection, changes: Changes) -> Result<Seq, Failure> {
    let (number, tail, status, owner): (i64, i64, String, String) = connection
        .prepare_cached("SELECT number, tail, status, owner FROM conversation WHERE id = ?1")?
        .query_row([id_bytes(&changes.id)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?
        .ok_or(Error::NoSuchConversation(changes.id))?;
    if unsigned(tail) != changes.expected_tail {
        let (id, expected, actual) = (changes.id, changes.expected_tail, unsigned(tail));
        return Err(Error::Conflict { id, expected, actual }.into());
    }
    append_events(connection, number, tail, &changes.events)?;
    append_calls(connection, number, &owner, &changes.calls)?;
    let tail = unsigned(tail) + changes.events.len() as u64;
    connection
        .prepare_cached(
            "UPDATE conversation SET tail = ?2, updated_at = ?3, progress = coalesce(?4, progress), \
             title = coalesce(?5, title), tags = coalesce(?6, tags) WHERE number = ?1",
        )?
        .execute(params![number, signed(tail), changes.at, changes.progress, changes.title, changes.tags])?;
    // Apart, because an index has it.
    if let Some(new) = changes.status.filter(|new| *new != status) {
        connection
            .prepare_cached("UPDATE conversation SET status = ?2 WHERE number = ?1")?
            .execute(params![number, new])?;
    }
    if changes.definition.is_some() || changes.secrets.is_some() {
        connection
            .prepare_cached(
                "UPDATE definition SET json = coalesce(?2, json), secrets = coalesce(?3, secrets) \
                 WHERE conversation = ?1",
            )?
            .execute(params![number, changes.definition, changes.secrets])?;
    }
    Ok(tail)
}

fn append_events(connection: &Connection, number: i64, tail: i64, events: &[EventRow]) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event (conversation, seq, kind, source, timestamp, id, json, arguments) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (seq, event) in (tail..).zip(events) {
        let EventRow { kind, source, timestamp, id, json, arguments } = event;
        insert.execute(params![number, seq, kind, source, timestamp, id, &**json, arguments]).map_err(duplicate(id))?;
    }
    Ok(())
}

fn append_calls(connection: &Connection, number: i64, owner: &str, calls: &[Call]) -> Result<(), Failure> {
    if calls.is_empty() {
        return Ok(());
    }
    let next: i64 = connection
        .prepare_cached("SELECT coalesce(max(position) + 1, 0) FROM call WHERE conversation = ?1")?
        .query_row([number], |row| row.get(0))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO call (conversation, position, usage_id, model, response_id, prompt_tokens, completion_tokens, \
         cache_read_tokens, cache_write_tokens, reasoning_tokens, context_window, per_turn_token, cost, latency, \
         timestamp) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    for (position, call) in (next..).zip(calls) {
        let usage = &call.usage;
        insert.execute(params![
            number,
            position,
            call.usage_id,
            usage.model,
            usage.response_id,
            signed(usage.prompt_tokens),
            signed(usage.completion_tokens),
            signed(usage.cache_read_tokens),
            signed(usage.cache_write_tokens),
            signed(usage.reasoning_tokens),
            signed(usage.context_window),
            signed(usage.per_turn_token),
            finite(call.cost),
            finite(call.latency),
            finite(call.timestamp),
        ])?;
        usage::add(connection, owner, call)?;
    }
    Ok(())
}

/// A column of numbers has no place for what is not one.
pub(super) fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

pub(super) fn calls(connection: &Connection, ids: &[ConversationId]) -> Result<Vec<Vec<Call>>, Failure> {
    ids.iter()
        .map(|id| match conversation::number(connection, *id)? {
            Some(number) => calls_of(connection, number),
            None => Ok(Vec::new()),
        })
        .collect()
}

fn calls_of(connection: &Connection, number: i64) -> Result<Vec<Call>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT usage_id, model, response_id, prompt_tokens, completion_tokens, cache_read_tokens, \
         cache_write_tokens, reasoning_tokens, context_window, per_turn_token, cost, latency, timestamp \
         FROM call WHERE conversation = ?1 ORDER BY position",
    )?;
    let calls = statement.query_map([number], read_call)?;
    Ok(calls.collect::<Result<_, _>>()?)
}

fn read_call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let tokens = |column| row.get(column).map(unsigned);
    Ok(Call {
        usage_id: row.get(0)?,
        usage: TokenUsage {
            model: row.get(1)?,
            response_id: row.get(2)?,
            prompt_tokens: tokens(3)?,
            completion_tokens: tokens(4)?,
            cache_read_tokens: tokens(5)?,
            cache_write_tokens: tokens(6)?,
            reasoning_tokens: tokens(7)?,
            context_window: tokens(8)?,
            per_turn_token: tokens(9)?,
        },
        cost: row.get(10)?,
        latency: row.get(11)?,
        timestamp: row.get(12)?,
    })
}
