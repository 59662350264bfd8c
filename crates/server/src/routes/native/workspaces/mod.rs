//! `/workspaces`: the places that a user works in.

mod change;
mod control;
mod create;
mod delete;
mod info;
mod read;

use longshore_sandbox::Error;

use crate::{ApiError, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default()
        .merge(change::router())
        .merge(control::router())
        .merge(create::router())
        .merge(delete::router())
        .merge(read::router())
}

/// The answer for what a box cannot do. The workspace itself is there, so nothing is a 404.
fn refused(error: Error) -> ApiError {
    match error {
        Error::Invalid(sentence) => ApiError::unprocessable(sentence),
        error => ApiError::conflict(error.to_string()),
    }
}
