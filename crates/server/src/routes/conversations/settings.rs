//! What holds for all runs of a conversation: which actions wait, who judges them, secrets.

use axum::extract::State;
use longshore_protocol::{
    ConversationId,
    confirmation::{SetConfirmationPolicy, SetSecurityAnalyzer},
    conversation::UpdateSecrets,
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
    Routes::default()
        .route(|| routes!(set_confirmation_policy))
        .route(|| routes!(set_security_analyzer))
        .route(|| routes!(update_secrets))
}

/// Changes which actions wait for the user. Holds until it is changed again, restarts included.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/confirmation_policy", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), request_body = SetConfirmationPolicy, responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn set_confirmation_policy(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(wish): ApiJson<SetConfirmationPolicy>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    let set = state.engine().set_confirmation_policy(principal.user(), path.conversation_id, wish.policy).await;
    set.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}

/// Changes who judges the risk of actions. Holds until it is changed again, restarts included.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/security_analyzer", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), request_body = SetSecurityAnalyzer, responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn set_security_analyzer(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(wish): ApiJson<SetSecurityAnalyzer>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    let analyzer = wish.security_analyzer;
    let set = state.engine().set_security_analyzer(principal.user(), path.conversation_id, analyzer).await;
    set.map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}

/// Adds or replaces secrets. The agent's commands find them as environment variables; readers never see their values.
#[utoipa::path(post, path = "/api/conversations/{conversation_id}/secrets", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), request_body = UpdateSecrets, responses(
        (status = 200, body = Success),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn update_secrets(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiJson(wish): ApiJson<UpdateSecrets>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    state
        .engine()
        .update_secrets(principal.user(), path.conversation_id, wish.secrets)
        .await
        .map_err(plain_not_found)?;
    Ok(Json(Success::OK))
}
