//! A message to the agent.

use axum::extract::State;
use longshore_protocol::{
    ConversationId,
    conversation::SendMessage,
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
    Routes::default().route(|| routes!(send_message))
}

/// Says something to the agent, whatever it is doing, and with `run` begins a run. Actions that wait for the user are
/// rejected by a new message.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/events", tag = "Events",
    params(("conversation_id" = ConversationId, Path)), request_body = SendMessage, responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
        (status = 429, body = ErrorBody, description = "The message is stored, but as many conversations run as may."),
    ))]
async fn send_message(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(message): ApiJson<SendMessage>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state.engine().send(principal.user(), path.conversation_id, message).await?;
    Ok(Json(Success::OK))
}
