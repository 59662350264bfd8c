//! What happened to commands.

use axum::extract::State;
use longshore_protocol::{
    UtcTime,
    bash::{BashCleared, BashEvent, BashEventPage},
    error::ErrorBody,
};
use longshore_store::BashQuery;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    ApiError, Place,
    extract::{ApiJson, ApiPath, ApiQuery, Least, Problem, bounded},
    respond::{Json, JsonWithNulls},
    routing::Routes,
    state::AppState,
};

/// Events that may be asked for by id at once.
const LARGEST_BATCH: usize = 1000;

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(search_bash_events))
        .route(|| routes!(batch_bash_events))
        .route(|| routes!(get_bash_event))
        .route(|| routes!(clear_bash_events))
}

/// Which events to find.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Search {
    /// Only this kind.
    #[serde(default, rename = "kind__eq")]
    #[param(inline)]
    kind: Option<Kind>,
    /// Only outputs of this command.
    #[serde(default, rename = "command_id__eq")]
    command_id: Option<Uuid>,
    /// Not before this time.
    #[serde(default, rename = "timestamp__gte")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<UtcTime>,
    /// Before this time.
    #[serde(default, rename = "timestamp__lt")]
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<UtcTime>,
    /// Only outputs after this position of their command.
    #[serde(default, rename = "order__gt")]
    after_order: Option<i64>,
    /// The order of the answer.
    #[serde(default)]
    #[param(inline)]
    sort_order: Order,
    /// Where to begin: `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<String>,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
}

#[derive(Deserialize, ToSchema, Clone, Copy)]
enum Kind {
    BashCommand,
    BashOutput,
}

#[derive(Deserialize, ToSchema, Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    #[default]
    #[serde(rename = "TIMESTAMP")]
    Timestamp,
    #[serde(rename = "TIMESTAMP_DESC")]
    TimestampDescending,
}

/// A page of the events of `place`.
pub(crate) async fn search(state: &AppState, place: &Place, search: Search) -> Result<BashEventPage, ApiError> {
    let kind = search.kind.map(|kind| match kind {
        Kind::BashCommand => "BashCommand",
        Kind::BashOutput => "BashOutput",
    });
    let page = state.bash().search(
        &place.scope,
        BashQuery {
            kind: kind.map(str::to_owned),
            command_id: search.command_id.map(|id| id.simple().to_string()),
            id: None,
            since: search.since,
            before: search.before,
            // Clients begin with −1, before the first.
            after_order: search.after_order.and_then(|order| u64::try_from(order).ok()),
            descending: search.sort_order == Order::TimestampDescending,
            from: search.page_id,
            limit: bounded("limit", search.limit, Least::Above(0), 100, 100)?,
        },
    );
    let page = page.await?;
    Ok(BashEventPage { items: page.items, next_page_id: page.next })
}

/// The event of `place` with this id.
pub(crate) async fn get(state: &AppState, place: &Place, id: &str) -> Result<BashEvent, ApiError> {
    state.bash().get(&place.scope, id).await?.ok_or_else(|| ApiError::not_found("Not Found"))
}

/// The events of `place` with these ids, with holes for those that are not there.
pub(crate) async fn batch(
    state: &AppState,
    place: &Place,
    ids: Vec<String>,
) -> Result<Vec<Option<BashEvent>>, ApiError> {
    if ids.len() > LARGEST_BATCH {
        let text = format!("List should have at most {LARGEST_BATCH} items");
        let problem = Problem::new("too_long", text).at(vec!["body".into()], ids.len().into());
        return Err(ApiError::invalid(vec![problem]));
    }
    let mut events = Vec::with_capacity(ids.len());
    for id in ids {
        events.push(state.bash().get(&place.scope, &id).await?);
    }
    Ok(events)
}

/// Removes the events of `place`.
pub(crate) async fn clear(state: &AppState, place: &Place) -> Result<BashCleared, ApiError> {
    Ok(BashCleared { cleared_count: state.bash().clear(&place.scope).await? })
}

/// Finds events of commands.
#[utoipa::path(get, path = "/bash/bash_events/search", tag = "Bash", params(Search),
    responses((status = 200, body = BashEventPage)))]
async fn search_bash_events(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Search>,
) -> Result<JsonWithNulls<BashEventPage>, ApiError> {
    search(&state, &place, query).await.map(JsonWithNulls)
}

/// Events by id, in the order of the ids; null for an id that is not there.
#[utoipa::path(get, path = "/bash/bash_events/", tag = "Bash", request_body = [String],
    responses((status = 200, body = [Option<BashEvent>])))]
async fn batch_bash_events(
    State(state): State<AppState>,
    place: Place,
    ApiJson(ids): ApiJson<Vec<String>>,
) -> Result<JsonWithNulls<Vec<Option<BashEvent>>>, ApiError> {
    batch(&state, &place, ids).await.map(JsonWithNulls)
}

#[derive(Deserialize)]
struct EventPath {
    event_id: String,
}

/// One event.
#[utoipa::path(get, path = "/bash/bash_events/{event_id}", tag = "Bash",
    params(("event_id" = String, Path, description = "32 hexadecimal digits.")),
    responses((status = 200, body = BashEvent), (status = 404, body = ErrorBody, description = "There is no such event.")))]
async fn get_bash_event(
    State(state): State<AppState>,
    place: Place,
    ApiPath(EventPath { event_id: id }): ApiPath<EventPath>,
) -> Result<JsonWithNulls<BashEvent>, ApiError> {
    get(&state, &place, &id).await.map(JsonWithNulls)
}

/// Removes all events. Commands that are running go on.
#[utoipa::path(delete, path = "/bash/bash_events", tag = "Bash", responses((status = 200, body = BashCleared)))]
async fn clear_bash_events(State(state): State<AppState>, place: Place) -> Result<Json<BashCleared>, ApiError> {
    clear(&state, &place).await.map(Json)
}
