//! Rows of settings and secrets.

use indexmap::IndexMap;
use longshore_protocol::{agent::SecretSource, secret::Opaque};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{codec::Codec, failure::Failure};
use crate::{Error, Owner};

/// Two tables of the same shape.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Setting,
    Secret,
}

pub(super) fn encode(value: Value, codec: &Codec) -> Result<String, Error> {
    codec.encode(&Opaque(value))
}

pub(super) fn get(connection: &Connection, codec: &Codec, owner: &Owner, name: &str) -> Result<Option<Value>, Failure> {
    let json: Option<String> = connection
        .prepare_cached("SELECT json FROM setting WHERE owner = ?1 AND name = ?2")?
        .query_row(params![&*owner.0, name], |row| row.get(0))
        .optional()?;
    let Some(json) = json else { return Ok(None) };
    let value: Opaque = codec.decode(&json, || format!("the setting {name:?}"))?;
    Ok(Some(value.0))
}

/// Sets or removes a row and returns whether there was one before.
pub(super) fn set(
    connection: &Connection,
    table: Table,
    owner: &Owner,
    name: &str,
    json: Option<&str>,
) -> Result<bool, Failure> {
    let (remove, insert) = match table {
        Table::Setting => (
            "DELETE FROM setting WHERE owner = ?1 AND name = ?2",
            "INSERT INTO setting (owner, name, json) VALUES (?1, ?2, ?3)",
        ),
        Table::Secret => (
            "DELETE FROM secret WHERE owner = ?1 AND name = ?2",
            "INSERT INTO secret (owner, name, json) VALUES (?1, ?2, ?3)",
        ),
    };
    let existed = connection.prepare_cached(remove)?.execute(params![&*owner.0, name])? > 0;
    if let Some(json) = json {
        connection.prepare_cached(insert)?.execute(params![&*owner.0, name, json])?;
    }
    Ok(existed)
}

pub(super) fn secrets(
    connection: &Connection,
    codec: &Codec,
    owner: &Owner,
) -> Result<IndexMap<String, SecretSource>, Failure> {
    let mut statement = connection.prepare_cached("SELECT name, json FROM secret WHERE owner = ?1 ORDER BY name")?;
    let mut rows = statement.query([&*owner.0])?;
    let mut secrets = IndexMap::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let json: String = row.get(1)?;
        let secret = codec.decode(&json, || format!("the secret {name:?}"))?;
        secrets.insert(name, secret);
    }
    Ok(secrets)
}
