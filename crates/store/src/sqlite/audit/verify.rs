//! Whether the audit log is as it was written.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{
    super::{
        codec::{signed, unsigned},
        failure::Failure,
        reader::Readers,
    },
    chain::{COLUMNS, Link},
    hash_at,
    head::{Found, HeadFile},
    last,
};
use crate::{AuditHash, AuditHead, AuditProblem, AuditProgress, AuditVerdict, Error, Seq};

/// Records that are read at once: a longer look would keep the write-ahead log from beginning anew.
const CHUNK: i64 = 2000;

pub(super) async fn verify(
    readers: &Arc<Readers>,
    file: &Arc<HeadFile>,
    from: Seq,
    progress: &AuditProgress,
) -> Result<AuditVerdict, Error> {
    // Before the log is read: it is written after the log, so the log is at least as long.
    let found = {
        let file = Arc::clone(file);
        let read = tokio::task::spawn_blocking(move || file.read()).await;
        read.map_err(|error| Error::Database(format!("a read broke off: {error}")))??
    };
    let end = readers.read(|connection| Ok(last(connection).unwrap_or_default())).await?;
    let mut walk = Walk { from: signed(from.max(1)), before: None, count: 0 };
    let is_signed = matches!(found, Found::Head { is_signed: true, .. });
    loop {
        let (next, outcome) = readers.read(move |connection| walk.step(connection)).await?;
        walk = next;
        progress(walk.last().seq, end.seq.max(walk.last().seq));
        let problem = match outcome {
            Step::More => continue,
            Step::Problem(problem) => Some(problem),
            Step::End => {
                let last = walk.last();
                readers.read(move |connection| check_end(connection, found, last)).await?
            }
        };
        return Ok(AuditVerdict { count: walk.count, last: walk.last(), problem, is_signed });
    }
}

/// How far the verification is.
#[derive(Clone, Copy)]
struct Walk {
    from: i64,
    /// The last record that fits.
    before: Option<AuditHead>,
    count: u64,
}

enum Step {
    More,
    End,
    Problem(AuditProblem),
}

impl Walk {
    fn last(&self) -> AuditHead {
        self.before.unwrap_or_default()
    }

    fn step(mut self, connection: &Connection) -> Result<(Self, Step), Failure> {
        // Everything from the start, so that a position below 1 is seen too.
        let from = match self.before {
            Some(before) => signed(before.seq + 1),
            None if self.from <= 1 => i64::MIN,
            None => self.from,
        };
        let select = format!("SELECT {COLUMNS} FROM audit WHERE seq >= ?1 ORDER BY seq LIMIT {CHUNK}");
        let mut statement = connection.prepare_cached(&select)?;
        let mut rows = statement.query(params![from])?;
        let mut is_first = true;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let Ok(link) = Link::read(row) else {
                let seq = row.get::<_, i64>(0).map_or(self.last().seq + 1, unsigned);
                return Ok((self, Step::Problem(problem(seq, "it has values of the wrong kind"))));
            };
            // Old records may have been removed since the last look.
            let before = match self.before {
                Some(before) if !is_first || link.seq == signed(before.seq + 1) => before,
                before => match before_first(connection, &link, before)? {
                    Ok(before) => before,
                    Err(problem) => return Ok((self, Step::Problem(problem))),
                },
            };
            if let Some(problem) = judge(before, &link) {
                return Ok((self, Step::Problem(problem)));
            }
            self.before = Some(link.head());
            self.count += 1;
            is_first = false;
            read += 1;
        }
        Ok((self, if read < CHUNK { Step::End } else { Step::More }))
    }
}

fn judge(before: AuditHead, link: &Link) -> Option<AuditProblem> {
    let expected = before.seq + 1;
    if link.seq != signed(expected) {
        let cause = format!("it is missing; record {} stands in its place", link.seq);
        return Some(problem(expected, cause));
    }
    if link.previous != before.hash {
        return Some(problem(expected, "it does not follow the record before it"));
    }
    if link.hash != link.computed {
        return Some(problem(expected, "it was changed: its hash is another"));
    }
    link.is_gap.then(|| problem(expected, "it says that the log did not end where it should when a server started"))
}

/// What stands before the record from which the verification begins: nothing, a record that is trusted, or a checkpoint.
fn before_first(
    connection: &Connection,
    link: &Link,
    last: Option<AuditHead>,
) -> Result<Result<AuditHead, AuditProblem>, Failure> {
    if link.seq == 1 {
        return Ok(Ok(AuditHead::default()));
    }
    if link.seq < 1 {
        return Ok(Err(problem(1, format!("it is missing; record {} stands in its place", link.seq))));
    }
    let before = unsigned(link.seq - 1);
    if let Some(hash) = hash_at(connection, before)? {
        return Ok(Ok(AuditHead { seq: before, hash }));
    }
    let checkpoint: Option<String> = connection
        .prepare_cached("SELECT CAST(details AS BLOB) FROM audit WHERE removed = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([link.seq - 1], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
        .and_then(|details| String::from_utf8(details).ok());
    let details: Option<Value> = checkpoint.and_then(|details| serde_json::from_str(&details).ok());
    let hash = details.as_ref().and_then(|details| details["hash"].as_str()).and_then(AuditHash::parse);
    if let Some(hash) = hash {
        return Ok(Ok(AuditHead { seq: before, hash }));
    }
    let expected = last.map_or_else(|| first_expected(connection), |last| Ok(last.seq + 1))?;
    Ok(Err(problem(expected, format!("it is missing; record {} stands in its place", link.seq))))
}

/// Where the log should begin: after what the latest checkpoint removed.
fn first_expected(connection: &Connection) -> Result<Seq, Failure> {
    let removed: Option<i64> =
        connection.query_row("SELECT max(removed) FROM audit WHERE removed IS NOT NULL", [], |row| row.get(0))?;
    Ok(unsigned(removed.unwrap_or(0)).saturating_add(1))
}

/// Compares the end of the log with the file beside it.
fn check_end(connection: &Connection, found: Found, last: AuditHead) -> Result<Option<AuditProblem>, Failure> {
    let end = super::last(connection)?;
    let head = match found {
        Found::Missing if end.seq == 0 => return Ok(None),
        Found::Missing => {
            return Ok(Some(problem(last.seq, "the file audit.head, which says where the log ends, is missing")));
        }
        Found::Forged => {
            let cause = "the file audit.head, which says where the log ends, is not signed with the secret key";
            return Ok(Some(problem(last.seq, cause)));
        }
        Found::Head { head, .. } => head,
    };
    if head.seq > end.seq {
        let cause = format!("it is missing at the end of the log, which had {} records", head.seq);
        return Ok(Some(problem(end.seq + 1, cause)));
    }
    let hash = hash_at(connection, head.seq)?;
    let is_another = hash.is_some_and(|hash| hash != head.hash);
    Ok(is_another.then(|| problem(head.seq, "it is another than the file audit.head says")))
}

fn problem(seq: Seq, cause: impl Into<String>) -> AuditProblem {
    AuditProblem { seq, cause: cause.into() }
}
