//! A new conversation.

use axum::{extract::State, http::StatusCode};
use longshore_engine::Made;
use longshore_protocol::{
    ConversationId,
    conversation::{ConversationInfo, StartConversation},
    error::ErrorBody,
};
use serde::Deserialize;
use utoipa_axum::routes;

use super::SkillsQuery;
use crate::{
    ApiError, Principal,
    audit::Trail,
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
    trail: Trail,
    ApiQuery(query): ApiQuery<SkillsQuery>,
    ApiJson(wish): ApiJson<StartConversation>,
) -> Result<(StatusCode, JsonText), ApiError> {
    state.activity().touch();
    let wish = within_reach(&state, &principal, wish).await?;
    let (info, made) = Box::pin(state.engine().create(principal.user(), wish, query.wanted())).await?;
    let status = match made {
        Made::New => StatusCode::CREATED,
        Made::Before => StatusCode::OK,
    };
    if let Ok(known) = serde_json::from_slice::<Known>(&info.0) {
        trail.about("conversation", known.id.to_string());
    }
    Ok((status, JsonText(info.0)))
}

/// A wish for a conversation where `principal` may have one. Who is bound to a workspace works in that one.
pub(crate) async fn within_reach(
    state: &AppState,
    principal: &Principal,
    mut wish: StartConversation,
) -> Result<StartConversation, ApiError> {
    let Some(bound) = principal.workspace() else { return Ok(wish) };
    let workspace = &mut wish.workspace;
    if workspace.sandbox.is_some() || workspace.workspace_id.is_some_and(|id| id != bound) {
        return Err(ApiError::forbidden("This key opens one workspace only: leave sandbox and workspace_id out."));
    }
    workspace.workspace_id = Some(bound);
    let store = state.engine().store();
    for id in wish.conversation_id.iter().chain(&wish.parent_conversation_id) {
        // What is not there is told by whoever looks for it.
        if store.is_in_workspace(principal.user(), *id, bound).await? == Some(false) {
            return Err(ApiError::not_found(format!("Conversation not found: {id}")));
        }
    }
    Ok(wish)
}

/// What the audit log is told of a conversation.
#[derive(Deserialize)]
struct Known {
    id: ConversationId,
}
