//! Rows of boxes and of what happens to them.

use longshore_protocol::{
    UtcTime, nulls,
    sandbox::{SandboxEvent, SandboxEventBody, SandboxState},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    codec::{Codec, id_from, micros, place, signed, time_from, unsigned},
    failure::Failure,
};
use crate::{At, Error, Owner, Sandbox, SandboxChange};

/// Events that are kept of a box; older ones are removed.
const MAX_EVENTS: i64 = 10_000;

/// A box as its columns have it.
pub(super) struct SandboxRow {
    sandbox: Sandbox,
    options: String,
}

impl SandboxRow {
    pub(super) fn encode(sandbox: Sandbox, codec: &Codec) -> Result<Self, Error> {
        let options = codec.encode(&sandbox.options)?;
        Ok(Self { sandbox, options })
    }
}

pub(super) fn create(connection: &Connection, row: &SandboxRow) -> Result<bool, Failure> {
    let SandboxRow { sandbox, options } = row;
    let insert = "INSERT INTO sandbox \
         (id, owner, conversation, backend, state, reason, doomed, created_at, used_at, working_dir, options, workspace) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING";
    let (conversation, workspace) = columns(sandbox.at);
    let values = params![
        sandbox.id.simple().to_string(),
        sandbox.owner.as_ref().map(|owner| &*owner.0),
        conversation,
        sandbox.backend,
        sandbox.state.as_str(),
        sandbox.reason,
        sandbox.is_doomed,
        micros(sandbox.created_at),
        micros(sandbox.used_at),
        sandbox.working_dir,
        options,
        workspace,
    ];
    Ok(connection.prepare_cached(insert)?.execute(values)? > 0)
}

pub(super) fn all(connection: &Connection, codec: &Codec) -> Result<Vec<Sandbox>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT id, owner, conversation, backend, state, reason, doomed, created_at, used_at, working_dir, options, \
         workspace \
         FROM sandbox ORDER BY number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let what = || format!("box {id}");
        found.push(Sandbox {
            id: id.parse().map_err(|_| Error::damaged(what(), "its id is none"))?,
            owner: row.get::<_, Option<String>>(1)?.map(|owner| Owner(owner.into())),
            at: match (row.get::<_, Option<[u8; 16]>>(2)?, row.get::<_, Option<[u8; 16]>>(11)?) {
                (Some(conversation), _) => At::Conversation(id_from(conversation)),
                (None, Some(workspace)) => At::Workspace(Uuid::from_bytes(workspace)),
                (None, None) => At::Own,
            },
            backend: row.get(3)?,
            state: state_from(&row.get::<_, String>(4)?, &id)?,
            reason: row.get(5)?,
            is_doomed: row.get(6)?,
            created_at: time_from(row.get(7)?, what)?,
            used_at: time_from(row.get(8)?, what)?,
            working_dir: row.get(9)?,
            options: codec.decode(&row.get::<_, String>(10)?, what)?,
        });
    }
    Ok(found)
}

/// A change with its options in the form of the column.
pub(super) struct ChangeRow {
    change: SandboxChange,
    options: Option<String>,
}

impl ChangeRow {
    pub(super) fn encode(change: SandboxChange, codec: &Codec) -> Result<Self, Error> {
        let options = change.options.as_ref().map(|options| codec.encode(options)).transpose()?;
        Ok(Self { change, options })
    }
}

pub(super) fn change(connection: &Connection, id: Uuid, row: ChangeRow) -> Result<Vec<SandboxEvent>, Failure> {
    let ChangeRow { change, options } = row;
    let Some(number) = number(connection, id)? else { return Ok(Vec::new()) };
    let (state, reason) = change.state.map(|(state, reason)| (state.as_str(), reason)).unzip();
    let update = "UPDATE sandbox SET state = coalesce(?2, state), reason = coalesce(?3, reason), \
         used_at = max(used_at, coalesce(?4, used_at)), doomed = max(doomed, ?5), options = coalesce(?6, options) \
         WHERE number = ?1";
    let used_at = change.used_at.map(micros);
    connection.prepare_cached(update)?.execute(params![number, state, reason, used_at, change.doom, options])?;
    append(connection, number, change.at, change.events)
}

fn append(
    connection: &Connection,
    number: i64,
    at: UtcTime,
    bodies: Vec<SandboxEventBody>,
) -> Result<Vec<SandboxEvent>, Failure> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let next: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq) + 1, 0) FROM sandbox_event WHERE sandbox = ?1")?
        .query_row([number], |row| row.get(0))?;
    let insert = "INSERT INTO sandbox_event (sandbox, seq, timestamp, json) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(insert)?;
    let mut events = Vec::with_capacity(bodies.len());
    for (seq, body) in (next..).zip(bodies) {
        let json =
            nulls::to_vec(&body).map_err(|error| Error::Database(format!("an event has no JSON form: {error}")))?;
        let json = String::from_utf8(json).map_err(|error| Error::Database(error.to_string()))?;
        insert.execute(params![number, seq, micros(at), json])?;
        events.push(SandboxEvent { seq: unsigned(seq), timestamp: at, body });
    }
    let oldest = next + signed(events.len() as u64) - MAX_EVENTS;
    if oldest > 0 {
        let remove = "DELETE FROM sandbox_event WHERE sandbox = ?1 AND seq < ?2";
        connection.prepare_cached(remove)?.execute(params![number, oldest])?;
    }
    Ok(events)
}

pub(super) fn claim(connection: &Connection, id: Uuid, owner: &Owner, place: At, at: UtcTime) -> Result<bool, Failure> {
    let update = "UPDATE OR IGNORE sandbox SET owner = ?2, conversation = ?3, used_at = ?4, workspace = ?5 \
         WHERE id = ?1 AND owner IS NULL AND doomed = 0";
    let (conversation, workspace) = columns(place);
    let values = params![id.simple().to_string(), &*owner.0, conversation, micros(at), workspace];
    Ok(connection.prepare_cached(update)?.execute(values)? > 0)
}

pub(super) fn delete(connection: &Connection, id: Uuid) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM sandbox WHERE id = ?1")?.execute([id.simple().to_string()])?;
    Ok(())
}

pub(super) fn events(connection: &Connection, id: Uuid, from: u64, limit: usize) -> Result<Vec<SandboxEvent>, Failure> {
    let Some(number) = number(connection, id)? else { return Ok(Vec::new()) };
    let select =
        "SELECT seq, timestamp, json FROM sandbox_event WHERE sandbox = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(params![number, signed(from), signed(limit as u64)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = unsigned(row.get(0)?);
        let what = || format!("event {seq} of box {}", id.simple());
        let timestamp = time_from(row.get(1)?, what)?;
        events.push(SandboxEvent { seq, timestamp, body: decode(&row.get::<_, String>(2)?, what)? });
    }
    Ok(events)
}

fn number(connection: &Connection, id: Uuid) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached("SELECT number FROM sandbox WHERE id = ?1")?;
    Ok(statement.query_row([id.simple().to_string()], |row| row.get(0)).optional()?)
}

fn state_from(text: &str, id: &str) -> Result<SandboxState, Failure> {
    decode(&format!("\"{text}\""), || format!("the state of box {id}"))
}

fn decode<T: DeserializeOwned>(json: &str, what: impl FnOnce() -> String) -> Result<T, Failure> {
    Ok(serde_json::from_str(json).map_err(|error| Error::damaged(what(), place(&error)))?)
}

/// The columns `conversation` and `workspace` of a place.
fn columns(at: At) -> (Option<[u8; 16]>, Option<[u8; 16]>) {
    match at {
        At::Own => (None, None),
        At::Conversation(id) => (Some(id.0.into_bytes()), None),
        At::Workspace(id) => (None, Some(id.into_bytes())),
    }
}
