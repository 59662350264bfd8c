//! Rows of events.

use longshore_protocol::{ConversationId, event::MessageEvent};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::IgnoredAny;

use super::{
    codec::{Codec, id_bytes, one_more, place, signed, unsigned},
    commit::source_name,
    conversation,
    failure::Failure,
    query::Query,
};
use crate::{Error, EventFilter, EventQuery, Page, Seq, StoredEvent};

/// Bytes of events after which a page ends, so that a hundred of the largest do not come at once.
const PAGE_BYTES: usize = 8 << 20;

pub(super) fn range(
    connection: &Connection,
    codec: &Codec,
    id: ConversationId,
    from: Seq,
    limit: usize,
) -> Result<Vec<StoredEvent>, Failure> {
    let Some((number, tail)) = log(connection, id)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, json, arguments FROM event WHERE conversation = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![number, signed(from), signed(limit as u64)])?;
    let end = tail.min(from.saturating_add(limit as u64));
    let mut events = Vec::new();
    let mut bytes = 0;
    for seq in from..end {
        if bytes > PAGE_BYTES {
            break;
        }
        match rows.next()?.map(|row| read(row, codec, id)).transpose()? {
            Some(event) if event.seq == seq => {
                bytes += event.json.len();
                events.push(event);
            }
            _ => return Err(Error::damaged(name(id, seq), "the row is missing").into()),
        }
    }
    Ok(events)
}

pub(super) fn find(
    connection: &Connection,
    codec: &Codec,
    id: ConversationId,
    query: &EventQuery,
) -> Result<Page<StoredEvent>, Failure> {
    let mut page = Page { items: Vec::new(), next: None };
    let Some(number) = conversation::number(connection, id)? else { return Ok(page) };
    let start = match &query.from {
        Some(from) => connection
            .prepare_cached("SELECT seq FROM event WHERE conversation = ?1 AND id = ?2")?
            .query_row(params![number, from], |row| row.get::<_, i64>(0))
            .optional()?,
        None => None,
    };
    let search = Search::new(id, &query.filter);
    // Which messages have a text is known only after they are read.
    let limit = if search.text.is_some() { -1 } else { one_more(query.limit) };
    let (comparison, direction) = if query.descending { ("<=", "DESC") } else { (">=", "ASC") };

    let mut sql = search.query("seq, id, json, arguments", &number);
    if let Some(start) = &start {
        sql.push(&format!(" AND seq {comparison} :start"), &[(":start", start)]);
    }
    sql.push(&format!(" ORDER BY seq {direction} LIMIT :limit"), &[(":limit", &limit)]);
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if !search.matches(row)? {
            continue;
        }
        if page.items.len() == query.limit || bytes > PAGE_BYTES {
            page.next = Some(row.get(1)?);
            break;
        }
        let event = read(row, codec, id)?;
        bytes += event.json.len();
        page.items.push(event);
    }
    Ok(page)
}

pub(super) fn count(connection: &Connection, id: ConversationId, filter: &EventFilter) -> Result<u64, Failure> {
    let Some((number, tail)) = log(connection, id)? else { return Ok(0) };
    if *filter == EventFilter::default() {
        return Ok(tail);
    }
    let search = Search::new(id, filter);
    let sql = search.query(if search.text.is_some() { "seq, id, json" } else { "count(*)" }, &number);
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    if search.text.is_none() {
        return Ok(rows.next()?.map(|row| row.get(0)).transpose()?.map_or(0, unsigned));
    }
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += u64::from(search.matches(row)?);
    }
    Ok(count)
}

pub(super) fn by_id(
    connection: &Connection,
    codec: &Codec,
    id: ConversationId,
    ids: &[String],
) -> Result<Vec<Option<StoredEvent>>, Failure> {
    let Some(number) = conversation::number(connection, id)? else { return Ok(vec![None; ids.len()]) };
    let mut statement =
        connection.prepare_cached("SELECT seq, id, json, arguments FROM event WHERE conversation = ?1 AND id = ?2")?;
    ids.iter()
        .map(|event| {
            let mut rows = statement.query(params![number, event])?;
            rows.next()?.map(|row| read(row, codec, id)).transpose()
        })
        .collect()
}

/// The key of a conversation and where its log ends.
fn log(connection: &Connection, id: ConversationId) -> Result<Option<(i64, Seq)>, Failure> {
    let mut statement = connection.prepare_cached("SELECT number, tail FROM conversation WHERE id = ?1")?;
    Ok(statement.query_row([id_bytes(&id)], |row| Ok((row.get(0)?, row.get(1).map(unsigned)?))).optional()?)
}

fn name(id: ConversationId, seq: Seq) -> String {
    format!("event {seq} of conversation {id}")
}

/// Reads `seq, id, json, arguments`.
fn read(row: &Row<'_>, codec: &Codec, conversation: ConversationId) -> Result<StoredEvent, Failure> {
    let seq = unsigned(row.get(0)?);
    let damaged = |cause: &str| Failure::Ours(Error::damaged(name(conversation, seq), cause));
    let json = row.get_ref(2)?.as_str().map_err(|_| damaged("its text is not UTF-8"))?;
    serde_json::from_str::<IgnoredAny>(json).map_err(|error| damaged(&place(&error)))?;
    let arguments = match row.get_ref(3)?.as_str_or_null().map_err(|_| damaged("its arguments are not UTF-8"))? {
        Some(token) => Some(codec.open(token, || format!("the arguments of {}", name(conversation, seq)))?),
        None => None,
    };
    let id = row.get_ref(1)?.as_str().map_err(|_| damaged("its id is not UTF-8"))?.to_owned();
    Ok(StoredEvent { seq, id, json: json.into(), arguments })
}

/// What a filter asks of the columns and of the text of messages.
struct Search<'a> {
    conversation: ConversationId,
    kind: Option<&'a str>,
    source: Option<&'static str>,
    since: Option<&'a str>,
    before: Option<&'a str>,
    /// In small letters.
    text: Option<String>,
    /// The only kind that has text.
    message: Option<&'static str>,
}

impl<'a> Search<'a> {
    fn new(conversation: ConversationId, filter: &'a EventFilter) -> Self {
        Self {
            conversation,
            kind: filter.kind.as_deref(),
            source: filter.source.map(source_name),
            since: filter.since.as_deref(),
            before: filter.before.as_deref(),
            text: filter.text.as_ref().map(|text| text.to_lowercase()),
            message: filter.text.as_ref().map(|_| "MessageEvent"),
        }
    }

    /// Selects from the events of a conversation those whose columns match.
    fn query<'b>(&'b self, columns: &str, number: &'b i64) -> Query<'b> {
        let sql = format!("SELECT {columns} FROM event WHERE conversation = :conversation");
        let mut query = Query::new(sql, &[(":conversation", number)]);
        query
            .and("kind =", ":kind", self.kind.as_ref())
            .and("kind =", ":message", self.message.as_ref())
            .and("source =", ":source", self.source.as_ref())
            .and("timestamp >=", ":since", self.since.as_ref())
            .and("timestamp <", ":before", self.before.as_ref());
        query
    }

    /// Whether the message in a row `seq, id, json, …` has the text.
    fn matches(&self, row: &Row<'_>) -> Result<bool, Failure> {
        let Some(text) = &self.text else { return Ok(true) };
        let damaged =
            |seq: i64, cause: &str| Failure::Ours(Error::damaged(name(self.conversation, unsigned(seq)), cause));
        let seq = row.get(0)?;
        let json = row.get_ref(2)?.as_str().map_err(|_| damaged(seq, "its text is not UTF-8"))?;
        let event: MessageEvent = serde_json::from_str(json).map_err(|error| damaged(seq, &place(&error)))?;
        let message = &event.llm_message;
        Ok(message
            .content
            .iter()
            .filter_map(|content| content.as_text())
            .chain(event.extended_content.iter().map(|content| &*content.text))
            .chain(message.reasoning_content.as_deref())
            .any(|part| part.to_lowercase().contains(text)))
    }
}
