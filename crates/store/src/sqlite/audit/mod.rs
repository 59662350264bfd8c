//! The audit log.

mod chain;
mod find;
mod head;
mod verify;

use std::{path::Path, sync::Arc};

use longshore_protocol::UtcTime;
use rusqlite::{Connection, OptionalExtension, params, types::ToSqlOutput};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use self::{
    chain::{COLUMNS, EntryRow},
    head::{Found, HeadFile},
};
use super::{
    codec::{micros, signed, unsigned},
    failure::{Failure, explain},
    files::Files,
    reader::Readers,
    writer::Writer,
};
use crate::{
    AuditEntry, AuditHash, AuditHead, AuditProgress, AuditQuery, AuditRecord, AuditVerdict, Error, Keys, Seq, audit,
};

/// Records that are removed in one transaction, so that others who write do not wait long.
const PRUNED: i64 = 10_000;

/// The audit log of a database, for those who read it. It can be opened beside a server that writes to it.
#[derive(Debug)]
pub struct AuditLog {
    readers: Arc<Readers>,
    head: Arc<HeadFile>,
}

impl AuditLog {
    /// Opens the log of the database at `path`, which must be there, for reading only. Without `keys` the signature of its end
    /// is not checked.
    ///
    /// # Errors
    /// [`Error::Io`] if the database is not there, [`Error::Database`] if it has no log, [`Error::Foreign`].
    pub fn open(path: &Path, keys: Option<Keys>) -> Result<Self, Error> {
        let files = Files::of(path)?;
        std::fs::metadata(&files.database).map_err(Error::io("open", &files.database))?;
        let has_log = files.connect_reader().and_then(|connection| connection.table_exists(None, "audit"));
        if !has_log.map_err(|error| explain(error, &files))? {
            let file = files.database.display();
            return Err(Error::Database(format!("{file} has no audit log: start this version's server on it once")));
        }
        let files = Arc::new(files);
        Ok(Self::new(Arc::new(Readers::new(Arc::clone(&files), Arc::default())), &files, keys))
    }

    pub(super) fn new(readers: Arc<Readers>, files: &Files, keys: Option<Keys>) -> Self {
        Self { readers, head: Arc::new(HeadFile::new(&files.directory, keys)) }
    }

    /// As [`crate::Audit::audit_head`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn head(&self) -> Result<AuditHead, Error> {
        self.readers.read(last).await
    }

    /// As [`crate::Audit::find_audit`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, Error> {
        self.readers.read(move |connection| find::find(connection, &query)).await
    }

    /// As [`crate::Audit::verify_audit`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn verify(&self, from: Seq, progress: &AuditProgress) -> Result<AuditVerdict, Error> {
        verify::verify(&self.readers, &self.head, from, progress).await
    }

    pub(super) async fn append(&self, writer: &Writer, entries: Vec<AuditEntry>) -> Result<AuditHead, Error> {
        let rows: Vec<_> = entries.into_iter().map(EntryRow::encode).collect();
        let head = writer.write(move |connection| append(connection, &rows)).await?;
        self.note(head).await;
        Ok(head)
    }

    pub(super) async fn prune(&self, writer: &Writer, before: UtcTime, now: UtcTime) -> Result<u64, Error> {
        let (head, count) = writer.write(move |connection| prune(connection, before, now)).await?;
        self.note(head).await;
        Ok(count)
    }

    /// Writes down where the log ends. The records are stored already, so a failure is only told.
    async fn note(&self, head: AuditHead) {
        let file = Arc::clone(&self.head);
        if let Ok(Err(error)) = spawn_blocking(move || file.write(head)).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the end of the audit log is not written beside it: records that are taken away there go unnoticed"
            );
        }
    }

    /// Compares the end of the log with the file beside it, and says in the log if it is another: nobody could tell
    /// afterwards.
    pub(super) fn check_end(&self, connection: &mut Connection, files: &Files) -> Result<(), Error> {
        let explained = |failure: Failure| explain(failure, files);
        let end = last(connection).map_err(explained)?;
        let cause = match self.head.read()? {
            Found::Missing if end.seq == 0 => None,
            Found::Missing => Some("the file with its end is missing".to_owned()),
            Found::Forged => Some("the file with its end is not signed with the secret key".to_owned()),
            Found::Head { head, .. } => missing(connection, end, head).map_err(explained)?,
        };
        let mut end = end;
        if let Some(cause) = cause {
            tracing::error!(cause, "the audit log was changed while no server ran, or restored from a backup");
            let mut gap = AuditEntry::new(UtcTime(jiff::Timestamp::now()), audit::GAP);
            gap.details.insert("cause".to_owned(), Value::String(cause));
            end = in_transaction(connection, |connection| append(connection, &[EntryRow::encode(gap)]))
                .map_err(explained)?;
        }
        self.head.write(end)
    }
}

/// What is wrong if the log was as long as `head` and ends at `end`.
fn missing(connection: &Connection, end: AuditHead, head: AuditHead) -> Result<Option<String>, Failure> {
    if head.seq > end.seq {
        return Ok(Some(format!("records {} to {} are missing at its end", end.seq + 1, head.seq)));
    }
    let hash = hash_at(connection, head.seq)?;
    Ok(hash.is_some_and(|hash| hash != head.hash).then(|| format!("record {} is another than it was", head.seq)))
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.transaction()?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

fn append(connection: &Connection, rows: &[EntryRow]) -> Result<AuditHead, Failure> {
    let insert = format!(
        "INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    );
    let mut insert = connection.prepare_cached(&insert)?;
    let mut head = last(connection)?;
    for row in rows {
        let (seq, previous) = (head.seq + 1, head.hash);
        let columns = row.columns(signed(seq), row.at(), &previous);
        let hash = chain::hash(&columns);
        let own = [rusqlite::types::ValueRef::Blob(&hash.0)];
        insert.execute(rusqlite::params_from_iter(columns.into_iter().chain(own).map(ToSqlOutput::Borrowed)))?;
        head = AuditHead { seq, hash };
    }
    Ok(head)
}

/// Removes the oldest records behind a checkpoint. Returns the end of the log.
fn prune(connection: &Connection, before: UtcTime, now: UtcTime) -> Result<(AuditHead, u64), Failure> {
    let end = last(connection)?;
    let (first, young): (Option<i64>, Option<i64>) = connection
        .prepare_cached("SELECT (SELECT min(seq) FROM audit), (SELECT min(seq) FROM audit WHERE at >= ?1)")?
        .query_row([micros(before)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(first) = first else { return Ok((end, 0)) };
    let removed = young.map_or(signed(end.seq), |young| young - 1).min(first.saturating_add(PRUNED - 1));
    let Some(hash) = hash_at(connection, unsigned(removed))?.filter(|_| removed >= first) else { return Ok((end, 0)) };
    let mut checkpoint = AuditEntry::new(now, audit::CHECKPOINT);
    checkpoint.details = Map::from_iter([
        ("removed_from".to_owned(), Value::from(first)),
        ("removed_through".to_owned(), Value::from(removed)),
        ("hash".to_owned(), Value::from(hash.to_string())),
    ]);
    let head = append(connection, &[EntryRow::checkpoint(checkpoint, removed)])?;
    let count = connection.prepare_cached("DELETE FROM audit WHERE seq <= ?1")?.execute(params![removed])?;
    Ok((head, count as u64))
}

fn last(connection: &Connection) -> Result<AuditHead, Failure> {
    let mut statement = connection.prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?;
    let found: Option<(i64, [u8; 32])> = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.map_or_else(
        || Ok(AuditHead::default()),
        |(seq, hash)| Ok(AuditHead { seq: chain::position(seq)?, hash: AuditHash(hash) }),
    )
}

fn hash_at(connection: &Connection, seq: Seq) -> Result<Option<AuditHash>, Failure> {
    let mut statement = connection.prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?;
    Ok(statement.query_row([signed(seq)], |row| row.get(0).map(AuditHash)).optional()?)
}
