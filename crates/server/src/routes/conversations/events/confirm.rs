//! The user's answer to actions that wait.

use axum::extract::State;
use longshore_protocol::{
    ConversationId,
    confirmation::ConfirmationResponse,
    error::{ErrorBody, Success},
};
use utoipa_axum::routes;

use super::super::Id;
use crate::{
    ApiError, Principal,
    extract::{ApiJson, ApiPath},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(respond_to_confirmation))
}

/// Accepts the actions that wait, which begins a run, or rejects them, which does not.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/events/respond_to_confirmation", tag = "Events",
    params(("conversation_id" = ConversationId, Path)), request_body = ConfirmationResponse, responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
        (status = 429, body = ErrorBody, description = "As many conversations run as may."),
    ))]
async fn respond_to_confirmation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(response): ApiJson<ConfirmationResponse>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().confirm(principal.user(), path.conversation_id, response).await?;
    Ok(Json(Success::OK))
}
