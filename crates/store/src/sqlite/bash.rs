//! Rows of events of commands.

use longshore_protocol::{
    bash::{BashCommand, BashEvent},
    nulls,
};
use rusqlite::{Connection, OptionalExtension, params, types::ValueRef};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    codec::{id_bytes, id_from, micros, one_more, place, signed},
    failure::{Failure, duplicate},
    query::Query,
};
use crate::{At, BashQuery, Error, Owner, Page};

/// An event as its columns have it.
pub(super) struct BashRow {
    timestamp: i64,
    kind: &'static str,
    id: String,
    command_id: Option<String>,
    position: Option<i64>,
    effect: Effect,
    json: String,
}

/// What an event says about its command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Starts,
    Ends,
    Nothing,
}

pub(super) fn encode(events: Vec<BashEvent>) -> Result<Vec<BashRow>, Error> {
    events.into_iter().map(BashRow::encode).collect()
}

impl BashRow {
    fn encode(event: BashEvent) -> Result<Self, Error> {
        let unknown = || Error::Database("an event of a command has an unknown kind".to_owned());
        let json = nulls::to_vec(&event).ok().and_then(|json| String::from_utf8(json).ok()).ok_or_else(unknown)?;
        Ok(match event {
            BashEvent::BashCommand(event) => Self {
                timestamp: micros(event.timestamp),
                kind: "BashCommand",
                id: event.id,
                command_id: None,
                position: None,
                effect: Effect::Starts,
                json,
            },
            BashEvent::BashOutput(event) => Self {
                timestamp: micros(event.timestamp),
                kind: "BashOutput",
                id: event.id,
                command_id: Some(event.command_id),
                position: Some(signed(event.order)),
                effect: if event.exit_code.is_some() { Effect::Ends } else { Effect::Nothing },
                json,
            },
            BashEvent::BashError(event) => Self {
                timestamp: micros(event.timestamp),
                kind: "BashError",
                id: event.id,
                command_id: None,
                position: None,
                effect: Effect::Nothing,
                json,
            },
            BashEvent::Unknown(_) => return Err(unknown()),
        })
    }
}

pub(super) fn append(
    connection: &Connection,
    owner: &Owner,
    scope: At,
    rows: &[BashRow],
    keep: u64,
) -> Result<(), Failure> {
    let (conversation, workspace) = columns(connection, owner, scope)?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO bash_event (owner, conversation, timestamp, kind, id, command_id, position, running, json, \
         workspace) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut end =
        connection.prepare_cached("UPDATE bash_event SET running = 0 WHERE owner = ?1 AND id = ?2 AND running = 1")?;
    for BashRow { timestamp, kind, id, command_id, position, effect, json } in rows {
        let running = *effect == Effect::Starts;
        let values =
            params![&*owner.0, conversation, timestamp, kind, id, command_id, position, running, json, workspace];
        insert.execute(values).map_err(duplicate(id))?;
        if *effect == Effect::Ends {
            end.execute(params![&*owner.0, command_id])?;
        }
    }
    trim(connection, owner, keep)
}

/// Removes the first events of `owner` until no more than `keep` bytes are left.
fn trim(connection: &Connection, owner: &Owner, keep: u64) -> Result<(), Failure> {
    let used: i64 = connection
        .prepare_cached("SELECT bytes FROM bash_usage WHERE owner = ?1")?
        .query_row([&*owner.0], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let mut excess = used.saturating_sub(signed(keep));
    if excess <= 0 {
        return Ok(());
    }
    let mut oldest = connection.prepare_cached(
        "SELECT number, octet_length(json) FROM bash_event WHERE owner = ?1 AND running = 0 ORDER BY number",
    )?;
    let mut rows = oldest.query([&*owner.0])?;
    let mut last = None;
    while excess > 0
        && let Some(row) = rows.next()?
    {
        last = Some(row.get::<_, i64>(0)?);
        excess -= row.get::<_, i64>(1)?;
    }
    drop(rows);
    connection
        .prepare_cached("DELETE FROM bash_event WHERE owner = ?1 AND running = 0 AND number <= ?2")?
        .execute(params![&*owner.0, last])?;
    Ok(())
}

pub(super) fn find(
    connection: &Connection,
    owner: &Owner,
    scope: At,
    query: &BashQuery,
) -> Result<Page<BashEvent>, Failure> {
    let mut page = Page { items: Vec::new(), next: None };
    let (conversation, workspace) = columns(connection, owner, scope)?;
    let start: Option<(i64, i64)> = match &query.from {
        Some(from) => connection
            .prepare_cached("SELECT timestamp, number FROM bash_event WHERE owner = ?1 AND id = ?2")?
            .query_row(params![&*owner.0, from], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?,
        None => None,
    };
    let (since, before) = (query.since.map(micros), query.before.map(micros));
    let after_order = query.after_order.map(signed);
    let limit = one_more(query.limit);
    let (comparison, direction) = if query.descending { ("<=", "DESC") } else { (">=", "ASC") };

    let mut sql = Query::new(
        "SELECT id, json FROM bash_event WHERE owner = :owner AND conversation IS :conversation \
         AND workspace IS :workspace",
        &[(":owner", &owner.0), (":conversation", &conversation), (":workspace", &workspace)],
    );
    sql.and("kind =", ":kind", query.kind.as_ref())
        .and("command_id =", ":command", query.command_id.as_ref())
        .and("id =", ":id", query.id.as_ref())
        .and("timestamp >=", ":since", since.as_ref())
        .and("timestamp <", ":before", before.as_ref())
        .and("position >", ":order", after_order.as_ref());
    if let Some((timestamp, number)) = &start {
        let condition = format!(" AND (timestamp, number) {comparison} (:start, :start_number)");
        sql.push(&condition, &[(":start", timestamp), (":start_number", number)]);
    }
    sql.push(&format!(" ORDER BY timestamp {direction}, number {direction} LIMIT :limit"), &[(":limit", &limit)]);
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        if page.items.len() == query.limit {
            page.next = Some(id);
            break;
        }
        page.items.push(decode(&id, row.get_ref(1)?)?);
    }
    Ok(page)
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<(Owner, At, BashCommand)>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT b.owner, c.id, b.id, b.json, b.workspace \
         FROM bash_event b LEFT JOIN conversation c ON c.number = b.conversation \
         WHERE b.running = 1 ORDER BY b.number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let owner = Owner(row.get::<_, String>(0)?.into());
        let scope = match (row.get::<_, Option<[u8; 16]>>(1)?, row.get::<_, Option<[u8; 16]>>(4)?) {
            (Some(conversation), _) => At::Conversation(id_from(conversation)),
            (None, Some(workspace)) => At::Workspace(Uuid::from_bytes(workspace)),
            (None, None) => At::Own,
        };
        found.push((owner, scope, decode(&row.get::<_, String>(2)?, row.get_ref(3)?)?));
    }
    Ok(found)
}

pub(super) fn clear(connection: &Connection, owner: &Owner, scope: At) -> Result<u64, Failure> {
    let (conversation, workspace) = columns(connection, owner, scope)?;
    let sql = "DELETE FROM bash_event WHERE owner = ?1 AND conversation IS ?2 AND workspace IS ?3";
    Ok(connection.prepare_cached(sql)?.execute(params![&*owner.0, conversation, workspace])? as u64)
}

/// The values of the columns `conversation` and `workspace`.
fn columns(connection: &Connection, owner: &Owner, scope: At) -> Result<(Option<i64>, Option<[u8; 16]>), Failure> {
    let id = match scope {
        At::Own => return Ok((None, None)),
        At::Workspace(id) => return Ok((None, Some(id.into_bytes()))),
        At::Conversation(id) => id,
    };
    let mut statement = connection.prepare_cached("SELECT number FROM conversation WHERE id = ?1 AND owner = ?2")?;
    let number = statement.query_row(params![id_bytes(&id), &*owner.0], |row| row.get(0)).optional()?;
    Ok((Some(number.ok_or(Error::NoSuchConversation(id))?), None))
}

fn decode<T: DeserializeOwned>(id: &str, json: ValueRef<'_>) -> Result<T, Failure> {
    let damaged = |cause: &str| Error::damaged(format_args!("event {id} of a command"), cause);
    let json = json.as_str().map_err(|_| damaged("its text is not UTF-8"))?;
    Ok(serde_json::from_str(json).map_err(|error| damaged(&place(&error)))?)
}
