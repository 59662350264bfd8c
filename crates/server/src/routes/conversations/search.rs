//! Lists of conversations.

use axum::extract::State;
use longshore_protocol::conversation::{ConversationInfo, ExecutionStatus};
use longshore_store::{ConversationOrder, ConversationQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::SkillsQuery;
use crate::{
    ApiError, Principal,
    extract::{ApiQuery, Least, bounded},
    respond::{Json, JsonText},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(search_conversations)).route(|| routes!(count_conversations))
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ConversationSortOrder {
    /// Oldest first.
    CreatedAt,
    /// Longest unchanged first.
    UpdatedAt,
    /// Newest first.
    #[default]
    CreatedAtDesc,
    /// Latest changed first.
    UpdatedAtDesc,
}

impl From<ConversationSortOrder> for ConversationOrder {
    fn from(order: ConversationSortOrder) -> Self {
        match order {
            ConversationSortOrder::CreatedAt => Self::Created,
            ConversationSortOrder::UpdatedAt => Self::Updated,
            ConversationSortOrder::CreatedAtDesc => Self::CreatedDescending,
            ConversationSortOrder::UpdatedAtDesc => Self::UpdatedDescending,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// The `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<String>,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
    /// Only those that do this.
    #[serde(default)]
    status: Option<ExecutionStatus>,
    /// The order.
    #[serde(default)]
    #[param(inline)]
    sort_order: ConversationSortOrder,
    /// Whether agents' skills are in the answer; they may be large.
    #[serde(default)]
    include_skills: bool,
}

/// A page of conversations.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationPage {
    items: Vec<ConversationInfo>,
    /// The `page_id` of the next page.
    next_page_id: Option<String>,
}

/// A page of conversations.
#[utoipa::path(get, path = "/api/conversations/search", tag = "Conversations", params(SearchQuery), responses(
    (status = 200, body = ConversationPage),
))]
async fn search_conversations(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(query): ApiQuery<SearchQuery>,
) -> Result<JsonText, ApiError> {
    let SearchQuery { page_id, limit, status, sort_order, include_skills } = query;
    let query = ConversationQuery {
        status,
        workspace: principal.workspace(),
        order: sort_order.into(),
        // A page that is not there is the first one, as on the official server.
        from: page_id.and_then(|id| id.parse().ok()),
        limit: bounded("limit", limit, Least::Above(0), 100, 100)?,
    };
    let page = state.engine().list(principal.user(), query, SkillsQuery { include_skills }.wanted()).await?;
    Ok(JsonText::page(page.items.iter().map(|info| &info.0[..]), page.next.as_deref()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CountQuery {
    /// Only those that do this.
    #[serde(default)]
    status: Option<ExecutionStatus>,
}

/// How many conversations there are.
#[utoipa::path(get, path = "/api/conversations/count", tag = "Conversations", params(CountQuery), responses(
    (status = 200, body = u64, content_type = "application/json"),
))]
async fn count_conversations(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(query): ApiQuery<CountQuery>,
) -> Result<Json<u64>, ApiError> {
    Ok(Json(state.engine().count(principal.user(), query.status, principal.workspace()).await?))
}
