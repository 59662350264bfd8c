//! `/api/bash`: commands (contract: server §6.1).

pub(crate) mod commands;
pub(crate) mod events;

use longshore_engine::bash::Error;

use crate::{ApiError, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default().merge(commands::router()).merge(events::router())
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        use axum::http::StatusCode;
        match error {
            Error::TooManyCommands(_) | Error::TooManyWatchers => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            }
            Error::Closing => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            Error::Store(error) => error.into(),
            Error::Workspace(error) => Self::conflict(format!("The workspace cannot be used: {error}")),
        }
    }
}
