//! Brings the schema of a database up to date.

use aws_lc_rs::digest;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    failure::{Failure, explain},
    files::Files,
};
use crate::Error;

/// `LNGS`: marks the file as ours for programs that look at it from outside.
const APPLICATION: i32 = 0x4c4e_4753;

/// In order; a number is never used again and a released text never changes.
const MIGRATIONS: [(u32, &str); 7] = [
    (1, include_str!("../../migrations/0001_initial.sql")),
    (2, include_str!("../../migrations/0002_sandbox.sql")),
    (3, include_str!("../../migrations/0003_bash_usage.sql")),
    (4, include_str!("../../migrations/0004_accounts.sql")),
    (5, include_str!("../../migrations/0005_usage.sql")),
    (6, include_str!("../../migrations/0006_workspace.sql")),
    (7, include_str!("../../migrations/0007_audit.sql")),
];

pub(super) fn migrate(connection: &mut Connection, files: &Files) -> Result<(), Error> {
    apply(connection, files, &MIGRATIONS).map_err(|failure| explain(failure, files))
}

/// Whether the schema is this program's, for a database that another process has open.
pub(super) fn check(connection: &mut Connection, files: &Files) -> Result<(), Error> {
    let found = connection
        .query_row("SELECT max(number) FROM migration", [], |row| row.get::<_, Option<u32>>(0))
        .map_err(|error| explain(Failure::from(error), files))?
        .unwrap_or(0);
    let known = MIGRATIONS.last().map_or(0, |(number, _)| *number);
    if found > known {
        return Err(Error::Newer { file: files.database.clone(), found, known });
    }
    if found < known {
        let file = files.database.display();
        return Err(Error::Database(format!("{file} is in use by an older version: restart the server with this one")));
    }
    Ok(())
}

fn apply(connection: &mut Connection, files: &Files, migrations: &[(u32, &str)]) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    refuse_foreign(&transaction, files)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (
             number INTEGER PRIMARY KEY,
             checksum TEXT NOT NULL,
             applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
         ) STRICT",
    )?;
    let known = migrations.last().map_or(0, |(number, _)| *number);
    let found = transaction
        .query_row("SELECT max(number) FROM migration", [], |row| row.get::<_, Option<u32>>(0))?
        .unwrap_or(0);
    if found > known {
        return Err(Error::Newer { file: files.database.clone(), found, known }.into());
    }
    for (number, sql) in migrations {
        let checksum = checksum(sql);
        let applied = transaction
            .prepare("SELECT checksum FROM migration WHERE number = ?1")?
            .query_map([number], |row| row.get::<_, String>(0))?
            .next()
            .transpose()?;
        match applied {
            Some(applied) if applied == checksum => {}
            Some(_) => {
                let cause = format!("schema {number} is that of a changed or unfinished version");
                return Err(Error::Foreign { file: files.database.clone(), cause }.into());
            }
            None => {
                transaction.execute_batch(sql)?;
                let record = "INSERT INTO migration (number, checksum) VALUES (?1, ?2)";
                transaction.execute(record, params![number, checksum])?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Refuses to add our tables to somebody else's.
fn refuse_foreign(connection: &Connection, files: &Files) -> Result<(), Failure> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
    if application == APPLICATION {
        return Ok(());
    }
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0))?;
    if tables > 0 || application != 0 {
        let cause = "it has tables of another program".to_owned();
        return Err(Error::Foreign { file: files.database.clone(), cause }.into());
    }
    connection.pragma_update(None, "application_id", APPLICATION)?;
    Ok(())
}

fn checksum(sql: &str) -> String {
    use std::fmt::Write;
    digest::digest(&digest::SHA256, sql.as_bytes()).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
