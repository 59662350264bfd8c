//! `/api/file`: files (contract: server §6.2).

pub(crate) mod create_directory;
pub(crate) mod download;
mod home;
mod search_subdirs;
pub(crate) mod upload;

use axum::http::StatusCode;
use longshore_workspace::Error;

use crate::{ApiError, routing::Routes};

/// Files of a place.
pub(super) fn router() -> Routes {
    Routes::default().merge(create_directory::router()).merge(download::router()).merge(upload::router())
}

/// Folders to choose a place from.
pub(super) fn folders() -> Routes {
    Routes::default().merge(home::router()).merge(search_subdirs::router())
}

/// The answer for what no operation has its own words for.
pub(crate) fn refused(error: Error) -> ApiError {
    match error {
        Error::PermissionDenied { .. } => ApiError::forbidden("Permission denied"),
        Error::NotFound { .. } => ApiError::not_found("File not found"),
        Error::Io { ref cause, .. } if is_full(cause) => {
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "The disk is full; free some space and try again.")
        }
        // A name that is too long, a link that leads in a circle: the client's choice.
        Error::Io { ref cause, .. } if is_bad_path(cause) => ApiError::bad_request(error.to_string()),
        Error::IsADirectory { .. }
        | Error::NotADirectory { .. }
        | Error::NotAFile { .. }
        | Error::AlreadyExists { .. }
        | Error::TooManyEntries { .. } => ApiError::bad_request(error.to_string()),
        _ => ApiError::internal("The workspace failed", &error),
    }
}

fn is_full(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded)
}

fn is_bad_path(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, InvalidInput, ReadOnlyFilesystem};
    const TOO_MANY_LINKS: i32 = 40;
    matches!(cause.kind(), InvalidFilename | InvalidInput | ReadOnlyFilesystem)
        || cause.raw_os_error() == Some(TOO_MANY_LINKS)
}
