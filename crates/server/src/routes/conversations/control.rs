//! Runs: begin, stop at the next step, stop at once.

use axum::extract::State;
use longshore_protocol::{
    ConversationId,
    error::{ErrorBody, Success},
};
use utoipa_axum::routes;

use super::{Id, plain_not_found};
use crate::{ApiError, Principal, extract::ApiPath, respond::Json, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(run)).route(|| routes!(pause)).route(|| routes!(interrupt))
}

/// Begins a run, or goes on with a paused one. Actions that wait for the user are thereby accepted.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/run", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
        (status = 409, body = ErrorBody, description = "It runs already."),
        (status = 429, body = ErrorBody, description = "As many conversations run as may."),
    ))]
async fn run(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().run(principal.user(), path.conversation_id).await.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}

/// Stops the run at the next step: what is under way ends by itself.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/pause", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn pause(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().pause(principal.user(), path.conversation_id).await.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}

/// Stops the run at once: the model call and the tools that are under way are broken off.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/interrupt", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn interrupt(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().interrupt(principal.user(), path.conversation_id).await.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}
