//! What a user says to an agent.

use axum::{extract::State, http::StatusCode};
use longshore_protocol::{ConversationId, error::ErrorBody};
use longshore_store::Owner;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{info::ConversationBody, said};
use crate::{
    ApiError, Principal,
    extract::{ApiJson, ApiPath},
    respond::Json,
    routes::conversations::Id,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(say))
}

/// Body of `POST /conversations/{id}/messages`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Say {
    /// What the user says.
    #[schema(pattern = r"\S")]
    message: String,
}

/// Says something to the agent, whatever it is doing, and lets it begin.
#[utoipa::path(post, path = "/conversations/{conversation_id}/messages", tag = "Native conversations",
    params(("conversation_id" = ConversationId, Path)), request_body = Say, responses(
        (status = 202, body = ConversationBody, description = "The message is stored, and the agent begins."),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
        (status = 409, body = ErrorBody, description = "Its workspace cannot be used."),
        (status = 429, body = ErrorBody, description = "The message is stored, but as many conversations run as may."),
    ))]
async fn say(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(wish): ApiJson<Say>,
) -> Result<(StatusCode, Json<ConversationBody>), ApiError> {
    state.activity().touch();
    let (owner, id) = (principal.user(), path.conversation_id);
    let message = said(wish.message)?;
    check_workspace(&state, owner, id).await?;
    state.engine().send(owner, id, message).await?;
    Ok((StatusCode::ACCEPTED, Json(ConversationBody::find(&state, owner, id).await?)))
}

/// Nothing if the workspace of a conversation is still there.
///
/// # Errors
/// 409 with what to do.
pub(in super::super) async fn check_workspace(
    state: &AppState,
    owner: &Owner,
    id: ConversationId,
) -> Result<(), ApiError> {
    let Some(workspace) = state.engine().workspace_definition(owner, id).await?.workspace_id else { return Ok(()) };
    match state.engine().store().workspace(owner, workspace).await? {
        Some(_) => Ok(()),
        None => Err(ApiError::conflict(format!(
            "The workspace {workspace} of this conversation was deleted: make another conversation."
        ))),
    }
}
