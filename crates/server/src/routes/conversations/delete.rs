//! The end of a conversation.

use axum::extract::State;
use longshore_protocol::{
    ConversationId,
    error::{ErrorBody, Success},
};
use utoipa_axum::routes;

use super::{Id, plain_not_found};
use crate::{ApiError, Principal, extract::ApiPath, respond::Json, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(delete_conversation))
}

/// Removes a conversation with all its events, whatever it is doing. Its workspace stays. Its sockets close with 4004.
#[utoipa::path(delete, path = "/api/conversations/{conversation_id}", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn delete_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().delete(principal.user(), path.conversation_id).await.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}
