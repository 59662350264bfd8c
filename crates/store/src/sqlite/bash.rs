//! Rows of events of commands.

use longshore_protocol::{
    ConversationId,
    bash::{BashCommand, BashEvent},
    nulls,
};
use rusqlite::{Connection, OptionalExtension, params, types::ValueRef};
use serde::de::DeserializeOwned;

use super::{
    codec::{id_bytes, id_from, micros, one_more, place, signed},
    failure::{Failure, duplicate},
    query::Query,
};
use crate::{BashQuery, Error, Owner, Page};

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
    scope: Option<ConversationId>,
    rows: &[BashRow],
    keep: u64,
) -> Result<(), Failure> {
    let conversation = number(connection, owner, scope)?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO bash_event (owner, conversation, timestamp, kind, id, command_id, position, running, json) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let mut end =
        connection.prepare_cached("UPDATE bash_event SET running = 0 WHERE owner = ?1 AND id = ?2 AND running = 1")?;
    for BashRow { timestamp, kind, id, command_id, position, effect, json } in rows {
        let running = *effect == Effect::Starts;
        let values = params![&*owner.0, conversation, timestamp, kind, id, command_id, position, running, json];
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
    scope: Option<ConversationId>,
    query: &BashQuery,
) -> Result<Page<BashEvent>, Failure> {
    let mut page = Page { items: Vec::new(), next: None };
    let conversation = number(connection, owner, scope)?;
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
        "SELECT id, json FROM bash_event WHERE owner = :owner AND conversation IS :conversation",
        &[(":owner", &owner.0), (":conversation", &conversation)],
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

pub(super) fn unfinished(
    connection: &Connection,
) -> Result<Vec<(Owner, Option<ConversationId>, BashCommand)>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT b.owner, c.id, b.id, b.json \
         FROM bash_event b LEFT JOIN conversation c ON c.number = b.conversation \
         WHERE b.running = 1 ORDER BY b.number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let owner = Owner(row.get::<_, String>(0)?.into());
        let scope = row.get::<_, Option<[u8; 16]>>(1)?.map(id_from);
        found.push((owner, scope, decode(&row.get::<_, String>(2)?, row.get_ref(3)?)?));
    }
    Ok(found)
}

pub(super) fn clear(connection: &Connection, owner: &Owner, scope: Option<ConversationId>) -> Result<u64, Failure> {
    let conversation = number(connection, owner, scope)?;
    let sql = "DELETE FROM bash_event WHERE owner = ?1 AND conversation IS ?2";
    Ok(connection.prepare_cached(sql)?.execute(params![&*owner.0, conversation])? as u64)
}

/// The value of the column `conversation`.
fn number(connection: &Connection, owner: &Owner, scope: Option<ConversationId>) -> Result<Option<i64>, Failure> {
    let Some(id) = scope else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT number FROM conversation WHERE id = ?1 AND owner = ?2")?;
    let number = statement.query_row(params![id_bytes(&id), &*owner.0], |row| row.get(0)).optional()?;
    Ok(Some(number.ok_or(Error::NoSuchConversation(id))?))
}

fn decode<T: DeserializeOwned>(id: &str, json: ValueRef<'_>) -> Result<T, Failure> {
    let damaged = |cause: &str| Error::damaged(format_args!("event {id} of a command"), cause);
    let json = json.as_str().map_err(|_| damaged("its text is not UTF-8"))?;
    Ok(serde_json::from_str(json).map_err(|error| damaged(&place(&error)))?)
}
