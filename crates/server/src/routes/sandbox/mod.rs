//! `/api/sandbox`: the box that a user or a conversation works in. Not in the official contract.

mod control;
pub(crate) mod events;
mod read;

use axum::{extract::FromRequestParts, http::request::Parts};
use longshore_protocol::ConversationId;
use longshore_sandbox::{Error, Sandboxes};
use longshore_store::{At, Owner};
use serde::Deserialize;

use crate::{ApiError, Principal, extract::ApiPath, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().merge(control::router()).merge(events::router()).merge(read::router())
}

/// The box of the conversation in the path; outside any conversation, the user's.
struct Place {
    sandboxes: Sandboxes,
    owner: Owner,
    at: At,
}

#[derive(Deserialize)]
struct InConversation {
    #[serde(default)]
    conversation_id: Option<ConversationId>,
}

impl FromRequestParts<AppState> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let ApiPath(InConversation { conversation_id }) = ApiPath::from_request_parts(parts, state).await?;
        let owner = principal.user().clone();
        let sandboxes = state.workspaces().sandboxes();
        let sandboxes = sandboxes.ok_or_else(|| ApiError::not_found("This server makes no boxes"))?;
        let at = match conversation_id {
            Some(id) => sandboxes.at(&state.engine().workspace_definition(&owner, id).await?, id),
            None => state.workspaces().at(&principal),
        };
        Ok(Self { sandboxes, owner, at })
    }
}

fn refused(error: Error) -> ApiError {
    let sentence = error.to_string();
    match error {
        Error::Gone(_) => ApiError::not_found(sentence),
        Error::Invalid(_) => ApiError::unprocessable(sentence),
        _ => ApiError::conflict(sentence),
    }
}
