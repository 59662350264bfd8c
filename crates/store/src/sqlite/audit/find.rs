//! Records of the audit log for those who read them.

use rusqlite::{Connection, Row};

use super::{
    super::{
        codec::{micros, place, signed, time_from},
        failure::Failure,
        query::Query,
    },
    chain::{COLUMNS, position},
};
use crate::{AuditEntry, AuditHash, AuditQuery, AuditRecord, Error};

pub(super) fn find(connection: &Connection, query: &AuditQuery) -> Result<Vec<AuditRecord>, Failure> {
    let AuditQuery { actor, action, target, since, before, from, below, limit } = query;
    let (since, before) = (since.map(micros), before.map(micros));
    let (from, below, limit) = (from.map(signed), below.map(signed), signed(*limit as u64));
    let mut sql = Query::new(format!("SELECT {COLUMNS} FROM audit WHERE true"), &[]);
    sql.and("actor =", ":actor", actor.as_ref())
        .and("action =", ":action", action.as_ref())
        .and("target =", ":target", target.as_ref())
        .and("at >=", ":since", since.as_ref())
        .and("at <", ":before", before.as_ref())
        .and("seq >=", ":from", from.as_ref())
        .and("seq <", ":below", below.as_ref());
    sql.push(if from.is_some() { " ORDER BY seq" } else { " ORDER BY seq DESC" }, &[]);
    sql.push(" LIMIT :limit", &[(":limit", &limit)]);
    let mut statement = sql.prepare(connection)?;
    let mut rows = sql.rows(&mut statement)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> Result<AuditRecord, Failure> {
    let seq = position(row.get(0)?)?;
    let what = || format!("record {seq} of the audit log");
    let details: String = row.get(11)?;
    let entry = AuditEntry {
        at: time_from(row.get(1)?, what)?,
        actor: row.get(2)?,
        key: row.get(3)?,
        address: row.get(4)?,
        request: row.get(5)?,
        action: row.get(6)?,
        target_kind: row.get(7)?,
        target: row.get(8)?,
        owner: row.get(9)?,
        status: row.get(10)?,
        details: serde_json::from_str(&details).map_err(|error| Error::damaged(what(), place(&error)))?,
    };
    Ok(AuditRecord { seq, entry, previous: AuditHash(row.get(13)?), hash: AuditHash(row.get(14)?) })
}
