//! Conversations, one and all.

use axum::extract::State;
use longshore_engine::Skills;
use longshore_protocol::{ConversationId, conversation::ExecutionStatus, error::ErrorBody};
use longshore_store::ConversationQuery;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::info::ConversationBody;
use crate::{
    ApiError, Principal,
    extract::{ApiPath, ApiQuery, Least, bounded},
    respond::Json,
    routes::{admin::Listed, conversations::Id},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(list_conversations)).route(|| routes!(read_conversation))
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<String>,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
    /// Only those whose agent does this.
    #[serde(default)]
    status: Option<ExecutionStatus>,
    /// Only those in this workspace.
    #[serde(default)]
    workspace_id: Option<Uuid>,
}

/// The conversations of the user, newest first. A key that is bound to a workspace sees those in it.
#[utoipa::path(get, path = "/conversations", tag = "Native conversations", params(ListQuery), responses(
    (status = 200, body = Listed<ConversationBody>),
))]
async fn list_conversations(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Json<Listed<ConversationBody>>, ApiError> {
    let ListQuery { page_id, limit, status, workspace_id } = query;
    let limit = bounded("limit", limit, Least::Above(0), 100, 100)?;
    let workspace = match (principal.workspace(), workspace_id) {
        (Some(bound), Some(asked)) if bound != asked => return Ok(Json(Listed::complete(Vec::new()))),
        (bound, asked) => bound.or(asked),
    };
    let query = ConversationQuery {
        status,
        workspace,
        // A page that is not there is the first one.
        from: page_id.and_then(|id| id.parse().ok()),
        limit,
        ..ConversationQuery::default()
    };
    let page = state.engine().list(principal.user(), query, Skills::Trimmed).await?;
    let items = page.items.iter().map(|info| ConversationBody::of(&state, principal.user(), info));
    Ok(Json(Listed::before(items.collect::<Result<_, _>>()?, page.next)))
}

/// A conversation.
#[utoipa::path(get, path = "/conversations/{conversation_id}", tag = "Native conversations",
    params(("conversation_id" = ConversationId, Path)), responses(
        (status = 200, body = ConversationBody),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn read_conversation(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
) -> Result<Json<ConversationBody>, ApiError> {
    ConversationBody::find(&state, principal.user(), path.conversation_id).await.map(Json)
}
