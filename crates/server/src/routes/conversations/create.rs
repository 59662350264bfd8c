//! A new conversation.

use axum::{extract::State, http::StatusCode};
use longshore_engine::Made;
use longshore_protocol::{
    conversation::{ConversationInfo, StartConversation},
    error::ErrorBody,
};
use utoipa_axum::routes;

use super::SkillsQuery;
use crate::{
    ApiError, Principal,
    extract::{ApiJson, ApiQuery},
    respond::JsonText,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(create_conversation))
}

/// Makes a conversation. The same `conversation_id` again gives the conversation that is there, unchanged.
#[utoipa::path(post, path = "/api/conversations", tag = "Conversations", params(SkillsQuery),
    request_body = StartConversation, responses(
        (status = 201, body = ConversationInfo, description = "It is new."),
        (status = 200, body = ConversationInfo, description = "It was there before."),
        (status = 409, body = ErrorBody, description = "The id belongs to somebody else's conversation."),
        (status = 429, body = ErrorBody, description = "As many conversations run as may."),
    ))]
async fn create_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(query): ApiQuery<SkillsQuery>,
    ApiJson(wish): ApiJson<StartConversation>,
) -> Result<(StatusCode, JsonText), ApiError> {
    state.activity().touch();
    let (info, made) = Box::pin(state.engine().create(principal.user(), wish, query.wanted())).await?;
    let status = match made {
        Made::New => StatusCode::CREATED,
        Made::Before => StatusCode::OK,
    };
    Ok((status, JsonText(info.0)))
}
