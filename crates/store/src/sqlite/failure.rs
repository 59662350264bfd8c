//! From errors of the database to ours.

use rusqlite::{ErrorCode, ffi};

use super::files::{Files, MAX_ROW};
use crate::Error;

/// Why a piece of work failed: the rows were not as it wanted, or the database did not obey.
#[derive(Debug)]
pub(super) enum Failure {
    Ours(Error),
    Database(rusqlite::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// The error for whoever uses the store.
pub(super) fn explain(failure: impl Into<Failure>, files: &Files) -> Error {
    use rusqlite::Error as E;
    let error = match failure.into() {
        Failure::Ours(error) => return error,
        Failure::Database(error) => error,
    };
    let file = || files.database.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => Error::damaged(file(), &error),
        Some(ErrorCode::NotADatabase) => {
            Error::Foreign { file: files.database.clone(), cause: "its first bytes are not those of a database".into() }
        }
        Some(ErrorCode::DiskFull) => Error::Full(files.directory.clone()),
        Some(ErrorCode::TooBig) => Error::TooLarge { limit: MAX_ROW },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Database(format!("{} is locked by another program ({error}); end that program", file()))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::Database(format!("{} cannot be written ({error}); check who owns it and its folder", file()))
        }
        Some(_) => Error::Database(format!("{}: {error}", file())),
        // A value that does not have the type of its column. The text may quote the value, so it is not told.
        None => match error {
            E::FromSqlConversionFailure(column, ..)
            | E::InvalidColumnType(column, ..)
            | E::IntegralValueOutOfRange(column, _) => {
                Error::damaged(file(), format_args!("a value in column {column} of a row has the wrong type"))
            }
            E::Utf8Error(..) => Error::damaged(file(), "a text is not UTF-8"),
            other => Error::Database(other.to_string()),
        },
    }
}

/// For rows with an id: if that is why one was refused, the error says so.
pub(super) fn duplicate(id: &str) -> impl FnOnce(rusqlite::Error) -> Failure {
    move |error| match error.sqlite_error() {
        Some(refusal) if refusal.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE => {
            Failure::Ours(Error::DuplicateEvent(id.to_owned()))
        }
        _ => error.into(),
    }
}

/// Whether the bytes of the file contradict each other.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}
