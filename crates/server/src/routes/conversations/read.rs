//! Conversations by id.

use axum::extract::State;
use longshore_engine::Error;
use longshore_protocol::{
    ConversationId,
    conversation::{ConversationInfo, FinalResponse},
    error::ErrorBody,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{Id, SkillsQuery, plain_not_found};
use crate::{
    ApiError, Principal,
    auth::in_reach,
    extract::{ApiPath, ApiQuery},
    respond::{Json, JsonText},
    routing::Routes,
    state::AppState,
};

/// Ids that may be asked for at once.
const MAX_IDS: usize = 99;

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(get_conversation))
        .route(|| routes!(get_conversations))
        .route(|| routes!(get_final_response))
}

/// A conversation.
#[utoipa::path(get, path = "/api/conversations/{conversation_id}", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path), SkillsQuery), responses(
        (status = 200, body = ConversationInfo),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn get_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiQuery(query): ApiQuery<SkillsQuery>,
) -> Result<JsonText, ApiError> {
    let info = state.engine().info(principal.user(), path.conversation_id, query.wanted()).await;
    info.map(|info| JsonText(info.0)).map_err(plain_not_found)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IdsQuery {
    /// The ids: at most 99.
    ids: Vec<ConversationId>,
    /// Whether agents' skills are in the answer; they may be large.
    #[serde(default)]
    include_skills: bool,
}

/// Conversations by id, null for those that are not there.
#[utoipa::path(get, path = "/api/conversations", tag = "Conversations", params(IdsQuery), responses(
    (status = 200, body = [Option<ConversationInfo>]),
))]
async fn get_conversations(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(IdsQuery { ids, include_skills }): ApiQuery<IdsQuery>,
) -> Result<JsonText, ApiError> {
    if ids.len() > MAX_IDS {
        return Err(Error::Invalid { field: "ids", reason: format!("at most {MAX_IDS} ids are allowed") }.into());
    }
    let mut infos = state.engine().get_many(principal.user(), &ids, SkillsQuery { include_skills }.wanted()).await?;
    for (id, info) in ids.iter().zip(&mut infos) {
        if in_reach(&state, &principal, *id).await.is_err() {
            *info = None;
        }
    }
    Ok(JsonText::list(infos.iter().map(|info| info.as_ref().map_or(&b"null"[..], |info| &info.0[..]))))
}

/// The last thing that the agent said to the user; empty if it said nothing.
#[utoipa::path(get, path = "/api/conversations/{conversation_id}/agent_final_response", tag = "Conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = FinalResponse),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn get_final_response(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<FinalResponse>, ApiError> {
    let response = state.engine().final_response(principal.user(), path.conversation_id).await;
    response.map(|response| Json(FinalResponse { response })).map_err(plain_not_found)
}
