//! Sums of what users spent on models.

use async_trait::async_trait;
use jiff::civil::Date;
use longshore_protocol::{ConversationId, metrics::Call};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{
    Sqlite,
    codec::{id_bytes, id_from, one_more, signed, unsigned},
    commit::finite,
    failure::Failure,
    query::Query,
};
use crate::{
    ConversationUsage, Error, Owner, Page, Spent, Usage, UsageBy, UsageQuery, UsageRow, UsageTotals, usage::day_of,
};

/// Models of one user and day that are counted apart. All others are one.
const MAX_MODELS: i64 = 100;

/// The name of all others.
const OTHERS: &str = "others";

/// Characters of a model's name.
const MAX_NAME: usize = 200;

/// Tokens that one call can count and that a sum can reach: providers may say anything.
const MAX_TOKENS: i64 = 1_000_000_000_000_000;

/// US dollars that one call can cost.
const MAX_COST: f64 = 1e9;

/// The sums of rows of `usage`, or of `call`, in the order that [`read`] has.
const SUMS: &str = "CAST(total(prompt_tokens) AS INTEGER), CAST(total(completion_tokens) AS INTEGER), \
                    CAST(total(cache_read_tokens) AS INTEGER), CAST(total(cache_write_tokens) AS INTEGER), \
                    CAST(total(reasoning_tokens) AS INTEGER), total(cost)";

#[async_trait]
impl Usage for Sqlite {
    async fn charge(&self, owner: &Owner, call: Call) -> Result<(), Error> {
        let owner = owner.clone();
        self.writer.write(move |connection| add(connection, &owner.0, &call)).await
    }

    async fn spent(&self, owner: &Owner, day: Date) -> Result<Spent, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| spent(connection, &owner, day)).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Page<UsageRow>, Error> {
        self.readers.read(move |connection| sums(connection, &query)).await
    }

    async fn usage_by_conversation(
        &self,
        owner: &Owner,
        workspace: Option<Uuid>,
        from: Option<ConversationId>,
        limit: usize,
    ) -> Result<Page<ConversationUsage>, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| by_conversation(connection, &owner, workspace, from, limit)).await
    }
}

/// Adds a call to what its owner spent.
pub(super) fn add(connection: &Connection, owner: &str, call: &Call) -> Result<(), Failure> {
    let day = day_of(call).to_string();
    let name: String = call.usage.model.chars().take(MAX_NAME).collect();
    let has_place: bool = connection
        .prepare_cached(
            "SELECT count(*) < ?4 OR coalesce(max(model = ?3), 0) FROM usage WHERE owner = ?1 AND day = ?2",
        )?
        .query_row(params![owner, day, name, MAX_MODELS], |row| row.get(0))?;
    let name = if has_place { &name } else { OTHERS };
    let usage = &call.usage;
    let tokens = |count: u64| signed(count).min(MAX_TOKENS);
    connection
        .prepare_cached(
            "INSERT INTO usage (owner, day, model, calls, prompt_tokens, completion_tokens, cache_read_tokens, \
             cache_write_tokens, reasoning_tokens, cost) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (owner, day, model) DO UPDATE SET calls = calls + 1, \
             prompt_tokens = min(?10, prompt_tokens + excluded.prompt_tokens), \
             completion_tokens = min(?10, completion_tokens + excluded.completion_tokens), \
             cache_read_tokens = min(?10, cache_read_tokens + excluded.cache_read_tokens), \
             cache_write_tokens = min(?10, cache_write_tokens + excluded.cache_write_tokens), \
             reasoning_tokens = min(?10, reasoning_tokens + excluded.reasoning_tokens), \
             cost = cost + excluded.cost",
        )?
        .execute(params![
            owner,
            day,
            name,
            tokens(usage.prompt_tokens),
            tokens(usage.completion_tokens),
            tokens(usage.cache_read_tokens),
            tokens(usage.cache_write_tokens),
            tokens(usage.reasoning_tokens),
            finite(call.cost).clamp(0.0, MAX_COST),
            MAX_TOKENS,
        ])?;
    Ok(())
}

fn spent(connection: &Connection, owner: &Owner, day: Date) -> Result<Spent, Failure> {
    let one = |condition: &str, day: Option<String>| -> Result<UsageTotals, Failure> {
        let sql = format!("SELECT CAST(total(calls) AS INTEGER), {SUMS} FROM usage WHERE owner = ?1 AND {condition}");
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row(params![&*owner.0, day], |row| read(row, 0))?)
    };
    Ok(Spent { day: one("day = ?2", Some(day.to_string()))?, all: one("?2 IS NULL", None)? })
}

fn sums(connection: &Connection, query: &UsageQuery) -> Result<Page<UsageRow>, Failure> {
    let key = match query.by {
        UsageBy::Day => "day",
        UsageBy::Model => "model",
        UsageBy::Owner => "owner",
    };
    let owner = query.owner.as_ref().map(|owner| &owner.0);
    let (since, until) = (query.since.map(|day| day.to_string()), query.until.map(|day| day.to_string()));
    let from = format!("{key} >=");
    let limit = one_more(query.limit);
    let mut sql = Query::new(format!("SELECT {key}, CAST(total(calls) AS INTEGER), {SUMS} FROM usage WHERE true"), &[]);
    sql.and("owner =", ":owner", owner);
    sql.and("day >=", ":since", since.as_ref());
    sql.and("day <=", ":until", until.as_ref());
    sql.and(&from, ":from", query.from.as_ref());
    sql.push(&format!(" GROUP BY {key} ORDER BY {key} LIMIT :limit"), &[(":limit", &limit)]);
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    let mut page = Page { items: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if page.items.len() == query.limit {
            page.next = Some(key);
            break;
        }
        page.items.push(UsageRow { key, totals: read(row, 1)? });
    }
    Ok(page)
}

fn by_conversation(
    connection: &Connection,
    owner: &Owner,
    workspace: Option<Uuid>,
    from: Option<ConversationId>,
    limit: usize,
) -> Result<Page<ConversationUsage>, Failure> {
    let sql = format!(
        "WITH sum (id, title, calls, prompt, completion, cache_read, cache_write, reasoning, cost) AS (
             SELECT c.id, c.title, count(*), {SUMS} FROM conversation c JOIN call ON call.conversation = c.number
             WHERE c.owner = ?1 AND (?4 IS NULL OR c.workspace = ?4) GROUP BY c.number
         ), start AS (SELECT cost, prompt + completion AS tokens, id FROM sum WHERE id = ?2)
         SELECT * FROM sum
         WHERE NOT EXISTS (SELECT 1 FROM start) OR (cost, prompt + completion, id) <= (SELECT * FROM start)
         ORDER BY cost DESC, prompt + completion DESC, id DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        &*owner.0,
        from.as_ref().map(id_bytes),
        one_more(limit),
        workspace.map(Uuid::into_bytes)
    ])?;
    let mut page = Page { items: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        let id = id_from(row.get(0)?);
        if page.items.len() == limit {
            page.next = Some(id.hex());
            break;
        }
        page.items.push(ConversationUsage { id, title: row.get(1)?, totals: read(row, 2)? });
    }
    Ok(page)
}

/// Reads a number of calls and [`SUMS`], from this column on.
fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<UsageTotals> {
    let number = |column: usize| row.get(first + column).map(unsigned);
    Ok(UsageTotals {
        calls: number(0)?,
        prompt_tokens: number(1)?,
        completion_tokens: number(2)?,
        cache_read_tokens: number(3)?,
        cache_write_tokens: number(4)?,
        reasoning_tokens: number(5)?,
        cost: row.get(first + 6)?,
    })
}
