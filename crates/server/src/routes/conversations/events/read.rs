//! Events by id.

use axum::{body::Bytes, extract::State};
use longshore_engine::Error;
use longshore_protocol::{ConversationId, Event, error::ErrorBody, nulls};
use longshore_store::StoredEvent;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::Id;
use crate::{
    ApiError, Principal,
    extract::{ApiPath, ApiQuery, OptionalJson},
    respond::JsonText,
    routing::Routes,
    state::AppState,
};

/// Ids that may be asked for at once.
const MAX_IDS: usize = 100;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(get_event)).route(|| routes!(get_events))
}

#[derive(Deserialize)]
pub(crate) struct EventPath {
    conversation_id: ConversationId,
    event_id: String,
}

/// An event, with null fields.
#[utoipa::path(get, path = "/api/conversations/{conversation_id}/events/{event_id}", tag = "Events",
    params(("conversation_id" = ConversationId, Path), ("event_id" = String, Path)), responses(
        (status = 200, body = Event),
        (status = 404, body = ErrorBody, description = "There is no such conversation, or no such event in it."),
    ))]
async fn get_event(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<EventPath>,
) -> Result<JsonText, ApiError> {
    let id = path.conversation_id;
    let events = state.engine().events_by_id(principal.user(), id, &[path.event_id]).await?;
    match events.into_iter().next().flatten() {
        Some(event) => Ok(JsonText(with_nulls(id, &event)?)),
        None => Err(ApiError::not_found("Not Found")),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IdsQuery {
    /// The ids, for clients that cannot send a body with GET.
    #[serde(default)]
    event_ids: Vec<String>,
}

/// Events by id, with null fields; null for those that are not there. The ids are a JSON list in the body, or in the query.
#[utoipa::path(get, path = "/api/conversations/{conversation_id}/events", tag = "Events",
    params(("conversation_id" = ConversationId, Path), IdsQuery), request_body = Vec<String>, responses(
        (status = 200, body = [Option<Event>]),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn get_events(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(path): ApiPath<Id>,
    ApiQuery(query): ApiQuery<IdsQuery>,
    OptionalJson(body): OptionalJson<Vec<String>>,
) -> Result<JsonText, ApiError> {
    let mut ids = body;
    ids.extend(query.event_ids);
    if ids.is_empty() || ids.len() > MAX_IDS {
        let reason = format!("give 1 to {MAX_IDS} event ids, as a JSON list in the body or as event_ids in the query");
        return Err(Error::Invalid { field: "event_ids", reason }.into());
    }
    let id = path.conversation_id;
    let events = state.engine().events_by_id(principal.user(), id, &ids).await?;
    let null = Bytes::from_static(b"null");
    let texts = events.iter().map(|event| event.as_ref().map_or(Ok(null.clone()), |event| with_nulls(id, event)));
    let texts: Vec<Bytes> = texts.collect::<Result<_, _>>()?;
    Ok(JsonText::list(texts.iter().map(|text| &text[..])))
}

fn with_nulls(id: ConversationId, stored: &StoredEvent) -> Result<Bytes, ApiError> {
    let written = serde_json::from_str::<Event>(&stored.json).and_then(|event| nulls::to_vec(&event));
    written.map(Bytes::from).map_err(|source| Error::DamagedEvent { id, seq: stored.seq, source }.into())
}
