//! Rows of users and their keys.

use async_trait::async_trait;
use longshore_protocol::{
    UtcTime,
    account::{ApiKey, Scope, User, UserName},
};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{
    Sqlite,
    codec::{Codec, micros, signed, time_from},
    failure::Failure,
};
use crate::{
    Error,
    accounts::{Accounts, KeyHash, StoredKey, UserChange},
};

#[async_trait]
impl Accounts for Sqlite {
    async fn create_user(&self, user: User) -> Result<bool, Error> {
        let options = self.codec.encode(&user.options)?;
        self.writer
            .write(move |connection| {
                let insert = "INSERT INTO user (name, role, created_at, disabled_at, options) \
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
                let values = params![
                    user.name.as_str(),
                    user.role.as_str(),
                    micros(user.created_at),
                    user.disabled_at.map(micros),
                    options,
                ];
                Ok(connection.prepare_cached(insert)?.execute(values)? > 0)
            })
            .await
    }

    async fn user(&self, name: &UserName) -> Result<Option<User>, Error> {
        let (codec, name) = (self.codec.clone(), name.clone());
        self.readers.read(move |connection| user(connection, &codec, &name)).await
    }

    async fn users(&self, after: Option<&UserName>, limit: usize) -> Result<Vec<User>, Error> {
        let (codec, after) = (self.codec.clone(), after.map_or_else(String::new, ToString::to_string));
        self.readers
            .read(move |connection| {
                let select = format!("SELECT {USER} FROM user u WHERE u.name > ?1 ORDER BY u.name LIMIT ?2");
                let mut statement = connection.prepare_cached(&select)?;
                let mut rows = statement.query(params![after, signed(limit as u64)])?;
                let mut users = Vec::new();
                while let Some(row) = rows.next()? {
                    users.push(user_in(row, 0, &codec)?);
                }
                Ok(users)
            })
            .await
    }

    async fn change_user(&self, name: &UserName, change: UserChange) -> Result<Option<User>, Error> {
        let (codec, name) = (self.codec.clone(), name.clone());
        let options = change.options.as_ref().map(|options| codec.encode(options)).transpose()?;
        self.writer
            .write(move |connection| {
                let update = "UPDATE user SET role = coalesce(?2, role), options = coalesce(?3, options), \
                     disabled_at = CASE ?4 WHEN 1 THEN coalesce(disabled_at, ?5) WHEN 0 THEN NULL ELSE disabled_at END \
                     WHERE name = ?1";
                let role = change.role.map(longshore_protocol::account::UserRole::as_str);
                let values = params![name.as_str(), role, options, change.is_disabled, micros(change.at)];
                connection.prepare_cached(update)?.execute(values)?;
                user(connection, &codec, &name)
            })
            .await
    }

    async fn create_api_key(&self, key: ApiKey, hash: KeyHash) -> Result<bool, Error> {
        self.writer
            .write(move |connection| {
                let insert = "INSERT INTO api_key (id, user, hash, label, scopes, workspace, created_at, expires_at) \
                     SELECT ?1, name, ?3, ?4, ?5, ?6, ?7, ?8 FROM user WHERE name = ?2 ON CONFLICT DO NOTHING";
                let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                let values = params![
                    key.id,
                    key.user.as_str(),
                    hash,
                    key.label,
                    scopes.join(" "),
                    key.workspace_id.map(Uuid::into_bytes),
                    micros(key.created_at),
                    key.expires_at.map(micros),
                ];
                Ok(connection.prepare_cached(insert)?.execute(values)? > 0)
            })
            .await
    }

    async fn api_key(&self, id: &str) -> Result<Option<StoredKey>, Error> {
        let (codec, id) = (self.codec.clone(), id.to_owned());
        self.readers
            .read(move |connection| {
                let select = format!(
                    "SELECT {KEY}, k.hash, {USER} FROM api_key k JOIN user u ON u.name = k.user WHERE k.id = ?1"
                );
                let mut statement = connection.prepare_cached(&select)?;
                let mut rows = statement.query([&id])?;
                let Some(row) = rows.next()? else { return Ok(None) };
                Ok(Some(StoredKey { key: key_in(row)?, hash: row.get(9)?, user: user_in(row, 10, &codec)? }))
            })
            .await
    }

    async fn api_keys(&self, user: Option<&UserName>, after: Option<&str>, limit: usize) -> Result<Vec<ApiKey>, Error> {
        let (user, after) = (user.map(ToString::to_string), after.map(str::to_owned));
        self.readers
            .read(move |connection| {
                let select = format!(
                    "SELECT {KEY} FROM api_key k WHERE (?1 IS NULL OR k.user = ?1) AND (?2 IS NULL OR \
                     (k.created_at, k.id) > (SELECT created_at, id FROM api_key WHERE id = ?2)) \
                     ORDER BY k.created_at, k.id LIMIT ?3"
                );
                let mut statement = connection.prepare_cached(&select)?;
                let mut rows = statement.query(params![user, after, signed(limit as u64)])?;
                let mut keys = Vec::new();
                while let Some(row) = rows.next()? {
                    keys.push(key_in(row)?);
                }
                Ok(keys)
            })
            .await
    }

    async fn revoke_api_key(&self, id: &str, user: Option<&UserName>, at: UtcTime) -> Result<Option<ApiKey>, Error> {
        let (id, user) = (id.to_owned(), user.map(ToString::to_string));
        self.writer
            .write(move |connection| {
                let update = "UPDATE api_key SET revoked_at = coalesce(revoked_at, ?3) \
                     WHERE id = ?1 AND (?2 IS NULL OR user = ?2)";
                if connection.prepare_cached(update)?.execute(params![id, user, micros(at)])? == 0 {
                    return Ok(None);
                }
                let select = format!("SELECT {KEY} FROM api_key k WHERE k.id = ?1");
                let mut statement = connection.prepare_cached(&select)?;
                let mut rows = statement.query([&id])?;
                rows.next()?.map(key_in).transpose()
            })
            .await
    }

    async fn note_api_key_uses(&self, uses: Vec<(String, UtcTime)>) -> Result<(), Error> {
        self.writer
            .write(move |connection| {
                let mut update = connection.prepare_cached(
                    "UPDATE api_key SET last_used_at = max(coalesce(last_used_at, ?2), ?2) WHERE id = ?1",
                )?;
                for (id, at) in &uses {
                    update.execute(params![id, micros(*at)])?;
                }
                Ok(())
            })
            .await
    }
}

/// The columns that [`user_in`] reads.
const USER: &str = "u.name, u.role, u.created_at, u.disabled_at, u.options";

/// The columns that [`key_in`] reads.
const KEY: &str =
    "k.id, k.user, k.label, k.scopes, k.workspace, k.created_at, k.expires_at, k.last_used_at, k.revoked_at";

fn user(connection: &Connection, codec: &Codec, name: &UserName) -> Result<Option<User>, Failure> {
    let mut statement = connection.prepare_cached(&format!("SELECT {USER} FROM user u WHERE u.name = ?1"))?;
    let mut rows = statement.query([name.as_str()])?;
    rows.next()?.map(|row| user_in(row, 0, codec)).transpose()
}

/// The user in the columns from `first` on.
fn user_in(row: &Row<'_>, first: usize, codec: &Codec) -> Result<User, Failure> {
    let name: String = row.get(first)?;
    let what = || format!("the user {name:?}");
    let damaged = |cause: String| Error::damaged(what(), &cause);
    Ok(User {
        name: name.parse().map_err(damaged)?,
        role: row.get::<_, String>(first + 1)?.parse().map_err(damaged)?,
        created_at: time_from(row.get(first + 2)?, what)?,
        disabled_at: optional_time(row, first + 3, what)?,
        options: codec.decode(&row.get::<_, String>(first + 4)?, what)?,
    })
}

/// The key in the first columns.
fn key_in(row: &Row<'_>) -> Result<ApiKey, Failure> {
    let id: String = row.get(0)?;
    let what = || format!("the key {id}");
    let damaged = |cause: String| Error::damaged(what(), &cause);
    let scopes: String = row.get(3)?;
    let scopes: Result<Vec<Scope>, String> = scopes.split_whitespace().map(str::parse).collect();
    Ok(ApiKey {
        user: row.get::<_, String>(1)?.parse().map_err(damaged)?,
        label: row.get(2)?,
        scopes: scopes.map_err(damaged)?,
        workspace_id: row.get::<_, Option<[u8; 16]>>(4)?.map(Uuid::from_bytes),
        created_at: time_from(row.get(5)?, what)?,
        expires_at: optional_time(row, 6, what)?,
        last_used_at: optional_time(row, 7, what)?,
        revoked_at: optional_time(row, 8, what)?,
        id,
    })
}

fn optional_time(row: &Row<'_>, column: usize, what: impl FnOnce() -> String) -> Result<Option<UtcTime>, Failure> {
    row.get::<_, Option<i64>>(column)?.map(|micros| time_from(micros, what)).transpose()
}
