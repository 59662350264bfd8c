//! Brings stored secrets under the current key, so that the operator can drop the previous ones.

use longshore_protocol::secret::Cipher;
use rusqlite::{
    Connection, OptionalExtension, TransactionBehavior,
    functions::{Context, FunctionFlags},
};
use serde_json::Value;

use super::{
    failure::{Failure, explain},
    files::Files,
};
use crate::{Error, Keys};

/// What [`key_check`](../../migrations/0001_initial.sql) has under the secret key.
const KNOWN: &str = "longshore";

/// Every column that may have tokens.
const UPDATES: &str = "
    UPDATE definition SET json = reseal(json), secrets = reseal(secrets);
    UPDATE conversation SET progress = reseal(progress);
    UPDATE event SET arguments = reseal(arguments) WHERE arguments IS NOT NULL;
    UPDATE setting SET json = reseal(json);
    UPDATE secret SET json = reseal(json);
    UPDATE sandbox SET options = reseal(options);
    UPDATE workspace SET options = reseal(options);
    UPDATE user SET options = reseal(options);
";

/// Makes sure that `keys` open what is stored. If that is under a previous key, it is encrypted again.
pub(super) fn check_key(connection: &mut Connection, keys: &Keys, files: &Files) -> Result<(), Error> {
    check(connection, keys, files).map_err(|failure| explain(failure, files))
}

fn check(connection: &mut Connection, keys: &Keys, files: &Files) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let token: Option<String> =
        transaction.query_row("SELECT token FROM key_check", [], |row| row.get(0)).optional()?;
    match token {
        Some(token) if keys.open(&token).ok().as_deref() != Some(KNOWN) => {
            return Err(Error::WrongKey(files.database.clone()).into());
        }
        Some(token) if keys.is_current(&token) => return Ok(()),
        Some(_) => {
            tracing::info!(file = %files.database.display(), "the secret key is new: encrypting stored secrets again");
            reseal(&transaction, keys)?;
        }
        None => {}
    }
    transaction.execute("INSERT OR REPLACE INTO key_check (number, token) VALUES (1, ?1)", [keys.seal(KNOWN)])?;
    transaction.commit()?;
    Ok(())
}

fn reseal(connection: &Connection, keys: &Keys) -> rusqlite::Result<()> {
    let keys = keys.clone();
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("reseal", 1, flags, move |context: &Context<'_>| {
        context.get::<String>(0).map(|text| reseal_text(text, &keys))
    })?;
    connection.execute_batch(UPDATES)?;
    connection.remove_function("reseal", 1)
}

/// A token, or JSON with tokens. What cannot be read stays as it is, for the one who reads it to report.
fn reseal_text(text: String, keys: &Keys) -> String {
    match serde_json::from_str::<Value>(&text) {
        Ok(mut json) => {
            if reseal_json(&mut json, keys) > 0 {
                json.to_string()
            } else {
                text
            }
        }
        Err(_) => reseal_token(&text, keys).unwrap_or(text),
    }
}

/// Returns how many tokens are new.
fn reseal_json(json: &mut Value, keys: &Keys) -> usize {
    match json {
        Value::String(text) => match reseal_token(text, keys) {
            Some(token) => {
                *text = token;
                1
            }
            None => 0,
        },
        Value::Array(items) => items.iter_mut().map(|item| reseal_json(item, keys)).sum(),
        Value::Object(fields) => fields.values_mut().map(|field| reseal_json(field, keys)).sum(),
        _ => 0,
    }
}

fn reseal_token(token: &str, keys: &Keys) -> Option<String> {
    let text = keys.open(token).ok().filter(|text| text != token)?;
    (!keys.is_current(token)).then(|| keys.seal(&text))
}
