//! `/conversations`: agents at work.

mod control;
mod create;
mod info;
mod message;
mod read;

use longshore_protocol::{Role, conversation::SendMessage, message::Content};
pub(super) use message::check_workspace;

use crate::{ApiError, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default().merge(control::router()).merge(create::router()).merge(message::router()).merge(read::router())
}

/// What a user says, with the wish that the agent begins.
pub(super) fn said(text: String) -> Result<SendMessage, ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::unprocessable("message must not be blank."));
    }
    Ok(SendMessage { role: Role::User, content: vec![Content::text(text)], run: true })
}
