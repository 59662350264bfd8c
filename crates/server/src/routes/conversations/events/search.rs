//! Lists of events.

use axum::extract::State;
use longshore_protocol::{ConversationId, Event, Source, error::ErrorBody};
use longshore_store::{EventFilter, EventQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::super::Id;
use crate::{
    ApiError, Principal,
    extract::{ApiPath, ApiQuery, Least, WallTime, bounded},
    respond::{Json, JsonText},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(search_events)).route(|| routes!(count_events))
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum EventSortOrder {
    /// Oldest first.
    #[default]
    Timestamp,
    /// Newest first.
    TimestampDesc,
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
    /// Only this kind, such as `ActionEvent`.
    #[serde(default)]
    kind: Option<String>,
    /// Only from this source.
    #[serde(default)]
    source: Option<Source>,
    /// Only messages that contain this text, in any case.
    #[serde(default)]
    body: Option<String>,
    /// The order.
    #[serde(default)]
    #[param(inline)]
    sort_order: EventSortOrder,
    /// Not before this time.
    #[serde(default, rename = "timestamp__gte")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<WallTime>,
    /// Before this time.
    #[serde(default, rename = "timestamp__lt")]
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<WallTime>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CountQuery {
    /// Only this kind, such as `ActionEvent`.
    #[serde(default)]
    kind: Option<String>,
    /// Only from this source.
    #[serde(default)]
    source: Option<Source>,
    /// Only messages that contain this text, in any case.
    #[serde(default)]
    body: Option<String>,
    /// Not before this time.
    #[serde(default, rename = "timestamp__gte")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<WallTime>,
    /// Before this time.
    #[serde(default, rename = "timestamp__lt")]
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<WallTime>,
}

impl CountQuery {
    fn filter(self) -> EventFilter {
        EventFilter {
            // Clients name a kind with or without the Python module that it is in.
            kind: self.kind.map(|kind| kind.rsplit('.').next().unwrap_or_default().to_owned()),
            source: self.source,
            text: self.body.filter(|text| !text.is_empty()),
            since: self.since.map(|time| time.0.to_string()),
            before: self.before.map(|time| time.0.to_string()),
        }
    }
}

/// A page of events, without null fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    items: Vec<Event>,
    /// The `page_id` of the next page.
    next_page_id: Option<String>,
}

/// A page of events.
#[utoipa::path(get, path = "/api/conversations/{conversation_id}/events/search", tag = "Events",
    params(("conversation_id" = ConversationId, Path), SearchQuery), responses(
        (status = 200, body = EventPage),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn search_events(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiQuery(query): ApiQuery<SearchQuery>,
) -> Result<JsonText, ApiError> {
    let SearchQuery { page_id, limit, kind, source, body, sort_order, since, before } = query;
    let query = EventQuery {
        filter: CountQuery { kind, source, body, since, before }.filter(),
        descending: sort_order == EventSortOrder::TimestampDesc,
        from: page_id.filter(|id| !id.is_empty()),
        limit: bounded("limit", limit, Least::Above(0), 100, 100)?,
    };
    let page = state.engine().find_events(principal.user(), path.conversation_id, query).await?;
    Ok(JsonText::page(page.items.iter().map(|event| event.json.as_bytes()), page.next.as_deref()))
}

/// How many events match.
#[utoipa::path(get, path = "/api/conversations/{conversation_id}/events/count", tag = "Events",
    params(("conversation_id" = ConversationId, Path), CountQuery), responses(
        (status = 200, body = u64, content_type = "application/json"),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn count_events(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiQuery(query): ApiQuery<CountQuery>,
) -> Result<Json<u64>, ApiError> {
    Ok(Json(state.engine().count_events(principal.user(), path.conversation_id, query.filter()).await?))
}
