//! Conversations: stop at the next step, stop at once, be gone.

use axum::{extract::State, http::StatusCode};
use longshore_protocol::{ConversationId, error::ErrorBody};
use utoipa_axum::routes;

use super::info::ConversationBody;
use crate::{
    ApiError, Principal, extract::ApiPath, respond::Json, routes::conversations::Id, routing::Routes, state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(pause_conversation))
        .route(|| routes!(interrupt_conversation))
        .route(|| routes!(remove_conversation))
}

/// Stops the agent at the next step: what is under way ends by itself. A message lets it go on.
#[utoipa::path(post, path = "/conversations/{conversation_id}/pause", tag = "Native conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = ConversationBody),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn pause_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<ConversationBody>, ApiError> {
    state.activity().touch();
    state.engine().pause(principal.user(), path.conversation_id).await?;
    ConversationBody::find(&state, principal.user(), path.conversation_id).await.map(Json)
}

/// Stops the agent at once: the model call and the tools that are under way are broken off.
#[utoipa::path(post, path = "/conversations/{conversation_id}/interrupt", tag = "Native conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = ConversationBody),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn interrupt_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<ConversationBody>, ApiError> {
    state.activity().touch();
    state.engine().interrupt(principal.user(), path.conversation_id).await?;
    ConversationBody::find(&state, principal.user(), path.conversation_id).await.map(Json)
}

/// Removes a conversation with all its events, whatever it is doing. Its workspace stays.
#[utoipa::path(delete, path = "/conversations/{conversation_id}", tag = "Native conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn remove_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<StatusCode, ApiError> {
    state.activity().touch();
    state.engine().delete(principal.user(), path.conversation_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
