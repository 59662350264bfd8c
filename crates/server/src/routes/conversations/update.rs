//! A conversation's title and labels.

use axum::extract::State;
use longshore_protocol::{
    ConversationId,
    conversation::UpdateConversation,
    error::{ErrorBody, Success},
};
use utoipa_axum::routes;

use super::{Id, plain_not_found};
use crate::{
    ApiError, Principal,
    extract::{ApiJson, ApiPath},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(update_conversation))
}

/// Changes title or labels, whatever the conversation is doing.
#[utoipa::path(patch, path = "/api/conversations/{conversation_id}", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), request_body = UpdateConversation, responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn update_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(update): ApiJson<UpdateConversation>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().update(principal.user(), path.conversation_id, update).await.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}
