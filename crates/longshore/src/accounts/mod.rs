//! `longshore user` and `longshore key`: users and keys of a server on this machine, whether or not it runs.

mod change;
mod keys;
mod users;

use std::{io::Write as _, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use longshore_protocol::{
    UtcTime,
    account::{Scope, UserName, UserRole},
};
use longshore_server::Accounts;
use longshore_store::{Keys, Sqlite, Store};
use serde::Serialize;

use self::change::Change;
use crate::settings::Environment;

/// Users and keys that are read from the store at once.
const PAGE: usize = 500;

/// Where the server keeps things.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The server's folder for everything durable. Without it: as for `longshore serve`.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

/// Options of `longshore user`.
#[derive(Debug, Args)]
pub(crate) struct UserCommand {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    action: UserAction,
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Add a user. The first one turns a server for a single user into one where everybody needs a key.
    Add {
        /// The name, which stays: letters, digits and . _ @ + -. The name `local` takes over what a single user had.
        name: UserName,
        /// What the user may be: user, or admin, who may manage users.
        #[arg(long, default_value = "user")]
        role: UserRole,
        /// What is decided for this user, as JSON: {"sandbox": {"image": "…"}, "max_workspaces": 3,
        /// "budget": {"day": {"cost_usd": 5}}}.
        #[arg(long, value_name = "JSON")]
        options: Option<String>,
    },
    /// Change what a user may be, or what is decided for the user.
    Change {
        /// The name.
        name: UserName,
        /// What the user may be from now on.
        #[arg(long, required_unless_present = "options")]
        role: Option<UserRole>,
        /// What is decided for this user from now on, all of it, as JSON; see `longshore user add --help`.
        #[arg(long, value_name = "JSON")]
        options: Option<String>,
    },
    /// Show all users.
    List {
        /// Print them as JSON, one on each line.
        #[arg(long)]
        json: bool,
    },
    /// Let a user's keys open nothing.
    Disable {
        /// The name.
        name: UserName,
    },
    /// Let a user's keys open again what they did.
    Enable {
        /// The name.
        name: UserName,
    },
}

/// Options of `longshore key`.
#[derive(Debug, Args)]
pub(crate) struct KeyCommand {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    action: KeyAction,
}

#[derive(Debug, Subcommand)]
enum KeyAction {
    /// Make a key and print it, alone, on standard output: it is stored nowhere.
    Create {
        /// Whose it is.
        #[arg(long, value_name = "NAME")]
        user: UserName,
        /// What it is good for: read, write or admin. May be repeated. Without it: read and write.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// From when on it opens nothing: a time such as 2027-01-31T00:00:00Z, or so long from now, such as 90d or 12h.
        #[arg(long, value_name = "WHEN", value_parser = keys::expiry)]
        expires: Option<UtcTime>,
        /// The one workspace that it opens: an id, or `own` for the one that every user has.
        #[arg(long, value_name = "ID")]
        workspace: Option<String>,
        /// What it is for, in words.
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// Show keys, without what makes them keys.
    List {
        /// Only this user's.
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        /// Print them as JSON, one on each line.
        #[arg(long)]
        json: bool,
    },
    /// Let a key open nothing any more.
    Revoke {
        /// Its id: the 16 digits after `lsk_`.
        id: String,
    },
}

/// Manages users.
pub(crate) fn user(command: UserCommand) -> Result<()> {
    within(command.place, async |accounts| users::act(accounts, command.action).await)
}

/// Manages keys.
pub(crate) fn key(command: KeyCommand) -> Result<()> {
    within(command.place, async |accounts| keys::act(accounts, command.action).await)
}

/// Does something with the accounts of the server whose folder is meant.
fn within(place: Where, work: impl AsyncFnOnce(&Accounts) -> Result<Option<Change>>) -> Result<()> {
    let environment = Environment::of_process();
    let data_dir = environment.data_dir(place.data_dir)?;
    crate::parts::make_private_dir(&data_dir)?;
    let keys = crate::parts::encryption_keys(&environment, &data_dir)?;
    let store = open(&data_dir, keys)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(async {
        let done = async {
            let change = work(&Accounts::new(Arc::clone(&store))).await?;
            let Some(change) = change else { return Ok(()) };
            store
                .append_audit(vec![change.entry()])
                .await
                .context("it is done, but the audit log could not be told")?;
            Ok(())
        };
        let done = done.await;
        store.close().await;
        done
    })
}

fn open(data_dir: &std::path::Path, keys: Keys) -> Result<Arc<dyn Store>> {
    let store = Sqlite::open_beside(&data_dir.join("longshore.db"), keys);
    Ok(Arc::new(store.with_context(|| format!("the data folder {} cannot be opened", data_dir.display()))?))
}

/// Prints values as JSON, one on each line.
fn print_json<T: Serialize>(items: &[T]) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for item in items {
        serde_json::to_writer(&mut output, item)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

/// Prints rows of cells in columns, the first row being the heads.
fn print_table(rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<_> =
        (0..columns).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut output = std::io::stdout().lock();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(output, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// A time for a table.
fn day(time: Option<UtcTime>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.0.strftime("%Y-%m-%d %H:%M").to_string())
}

/// Says something to a person; standard output is for what a script reads.
fn say(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{sentence}");
}
