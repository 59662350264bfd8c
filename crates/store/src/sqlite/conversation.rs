//! Rows of conversations.

use longshore_protocol::{ConversationId, conversation::ExecutionStatus};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    codec::{Codec, id_bytes, id_from, micros, one_more, time_from, unsigned},
    failure::Failure,
    query::Query,
};
use crate::{
    Conversation, ConversationHead, ConversationOrder, ConversationQuery, Created, Error, NewConversation, Owner, Page,
};

const SELECT: &str = "SELECT c.id, c.owner, c.created_at, c.updated_at, c.parent, c.title, c.tags, c.progress, c.tail, \
                      d.json, d.secrets \
                      FROM conversation c LEFT JOIN definition d ON d.conversation = c.number";

/// A new conversation as its columns have it.
pub(super) struct NewRow {
    id: ConversationId,
    owner: Owner,
    created_at: i64,
    parent: Option<ConversationId>,
    workspace: Option<Uuid>,
    status: &'static str,
    tags: String,
    progress: String,
    definition: String,
    secrets: String,
}

impl NewRow {
    pub(super) fn encode(new: NewConversation, codec: &Codec) -> Result<Self, Error> {
        Ok(Self {
            id: new.id,
            created_at: micros(new.created_at),
            parent: new.parent,
            workspace: new.workspace,
            status: new.progress.execution_status.as_str(),
            tags: codec.encode(&new.tags)?,
            progress: codec.encode(&new.progress)?,
            definition: codec.encode(&new.definition)?,
            secrets: codec.encode(&new.secrets)?,
            owner: new.owner,
        })
    }
}

pub(super) fn create(connection: &Connection, codec: &Codec, new: NewRow) -> Result<Created, Failure> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO conversation (id, owner, parent, created_at, updated_at, status, tail, tags, progress, \
             workspace) VALUES (?1, ?2, ?3, ?4, ?4, ?5, 0, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            id_bytes(&new.id),
            &*new.owner.0,
            new.parent.as_ref().map(id_bytes),
            new.created_at,
            new.status,
            new.tags,
            new.progress,
            new.workspace.map(Uuid::into_bytes),
        ])?;
    if inserted == 0 {
        return Ok(match get(connection, codec, &new.owner, new.id)? {
            Some(existing) => Created::Existing(Box::new(existing)),
            None => Created::Taken,
        });
    }
    connection
        .prepare_cached("INSERT INTO definition (conversation, json, secrets) VALUES (?1, ?2, ?3)")?
        .execute(params![connection.last_insert_rowid(), new.definition, new.secrets])?;
    Ok(Created::New)
}

pub(super) fn get(
    connection: &Connection,
    codec: &Codec,
    owner: &Owner,
    id: ConversationId,
) -> Result<Option<Conversation>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE c.id = ?1 AND c.owner = ?2"))?;
    let mut rows = statement.query(params![id_bytes(&id), &*owner.0])?;
    rows.next()?.map(|row| read(row, codec)).transpose()
}

pub(super) fn list(
    connection: &Connection,
    owner: &Owner,
    query: &ConversationQuery,
) -> Result<Page<ConversationHead>, Failure> {
    let (time, comparison, direction) = match query.order {
        ConversationOrder::Created => ("created_at", ">=", "ASC"),
        ConversationOrder::CreatedDescending => ("created_at", "<=", "DESC"),
        ConversationOrder::Updated => ("updated_at", ">=", "ASC"),
        ConversationOrder::UpdatedDescending => ("updated_at", "<=", "DESC"),
    };
    let start = match query.from {
        Some(from) => connection
            .prepare_cached(&format!("SELECT {time} FROM conversation WHERE id = ?1 AND owner = ?2"))?
            .query_row(params![id_bytes(&from), &*owner.0], |row| row.get::<_, i64>(0))
            .optional()?
            .map(|time| (time, *from.0.as_bytes())),
        None => None,
    };
    let status = query.status.map(ExecutionStatus::as_str);
    let limit = one_more(query.limit);

    let mut sql =
        Query::new("SELECT id, updated_at FROM conversation WHERE owner = :owner".to_owned(), &[(":owner", &owner.0)]);
    let workspace = query.workspace.map(Uuid::into_bytes);
    sql.and("status =", ":status", status.as_ref()).and("workspace =", ":workspace", workspace.as_ref());
    if let Some((start, from)) = &start {
        let condition = format!(" AND ({time}, id) {comparison} (:start, :from)");
        sql.push(&condition, &[(":start", start), (":from", from)]);
    }
    sql.push(&format!(" ORDER BY {time} {direction}, id {direction} LIMIT :limit"), &[(":limit", &limit)]);
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    let mut page = Page { items: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        let id = id_from(row.get(0)?);
        if page.items.len() == query.limit {
            page.next = Some(id.hex());
            break;
        }
        let updated_at = time_from(row.get(1)?, || format!("the time of conversation {id}"))?;
        page.items.push(ConversationHead { id, updated_at });
    }
    Ok(page)
}

pub(super) fn count(
    connection: &Connection,
    owner: &Owner,
    status: Option<ExecutionStatus>,
    workspace: Option<Uuid>,
) -> Result<u64, Failure> {
    let (status, workspace) = (status.map(ExecutionStatus::as_str), workspace.map(Uuid::into_bytes));
    let mut sql =
        Query::new("SELECT count(*) FROM conversation WHERE owner = :owner".to_owned(), &[(":owner", &owner.0)]);
    sql.and("status =", ":status", status.as_ref()).and("workspace =", ":workspace", workspace.as_ref());
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    let count: i64 = rows.next()?.map_or(Ok(0), |row| row.get(0))?;
    Ok(unsigned(count))
}

pub(super) fn is_in_workspace(
    connection: &Connection,
    owner: &Owner,
    id: ConversationId,
    workspace: Uuid,
) -> Result<Option<bool>, Failure> {
    let select = "SELECT workspace IS ?3 FROM conversation WHERE id = ?1 AND owner = ?2";
    let values = params![id_bytes(&id), &*owner.0, workspace.into_bytes()];
    Ok(connection.prepare_cached(select)?.query_row(values, |row| row.get(0)).optional()?)
}

pub(super) fn children(
    connection: &Connection,
    owner: &Owner,
    parent: ConversationId,
) -> Result<Vec<ConversationId>, Failure> {
    // The plus sign keeps SQLite from going through all that the owner has.
    let sql = "SELECT id FROM conversation WHERE parent = ?1 AND +owner = ?2 ORDER BY created_at, id";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map(params![id_bytes(&parent), &*owner.0], |row| row.get(0).map(id_from))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

pub(super) fn delete(connection: &Connection, owner: &Owner, id: ConversationId) -> Result<bool, Failure> {
    let sql = "DELETE FROM conversation WHERE id = ?1 AND owner = ?2";
    Ok(connection.prepare_cached(sql)?.execute(params![id_bytes(&id), &*owner.0])? > 0)
}

pub(super) fn interrupted(connection: &Connection) -> Result<Vec<(Owner, ConversationId)>, Failure> {
    let sql = "SELECT owner, id FROM conversation WHERE status = ?1 ORDER BY created_at, id";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([ExecutionStatus::Running.as_str()], |row| {
        Ok((Owner(row.get::<_, String>(0)?.into()), id_from(row.get(1)?)))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The key of a conversation in other tables, if it is there.
pub(super) fn number(connection: &Connection, id: ConversationId) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached("SELECT number FROM conversation WHERE id = ?1")?;
    Ok(statement.query_row([id_bytes(&id)], |row| row.get(0)).optional()?)
}

/// Reads a row of [`SELECT`].
fn read(row: &Row<'_>, codec: &Codec) -> Result<Conversation, Failure> {
    let id = id_from(row.get(0)?);
    let what = |part: &'static str| move || format!("the {part} of conversation {id}");
    let text = |column: usize, part: &'static str| {
        row.get_ref(column).map_err(Failure::from).and_then(|value| {
            value.as_str().map_err(|_| Error::damaged(what(part)(), "it is missing or not text").into())
        })
    };
    Ok(Conversation {
        id,
        owner: Owner(text(1, "owner")?.into()),
        created_at: time_from(row.get(2)?, what("row"))?,
        updated_at: time_from(row.get(3)?, what("row"))?,
        parent: row.get::<_, Option<[u8; 16]>>(4)?.map(id_from),
        title: row.get(5)?,
        tags: codec.decode(text(6, "labels")?, what("labels"))?,
        progress: codec.decode(text(7, "progress")?, what("progress"))?,
        tail: unsigned(row.get(8)?),
        definition: codec.decode(text(9, "definition")?, what("definition"))?,
        secrets: codec.decode(text(10, "secrets")?, what("secrets"))?,
    })
}
