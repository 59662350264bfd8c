//! What happened to a box.

use longshore_protocol::{error::ErrorBody, sandbox::SandboxEvent};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{Place, refused};
use crate::{ApiError, extract::ApiQuery, respond::Json, routing::Routes};

/// Events of one answer.
pub(crate) const MAX_EVENTS: usize = 100;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(read_sandbox_events))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// The position of the first event.
    #[serde(default)]
    pub(crate) from_seq: u64,
}

/// Some events of a box, in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct SandboxEventPage {
    /// The events: a hundred at most.
    items: Vec<SandboxEvent>,
    /// The position to ask from for what follows, now or later.
    next_seq: u64,
}

impl SandboxEventPage {
    /// The events from `from_seq` on.
    pub(crate) fn new(items: Vec<SandboxEvent>, from_seq: u64) -> Self {
        let next_seq = items.last().map_or(from_seq, |event| event.seq + 1);
        Self { items, next_seq }
    }
}

/// States and their reasons, hosts that could not be reached, warnings. The latest ten thousand are kept.
#[utoipa::path(get, path = "/sandbox/events", tag = "Sandbox", params(EventsQuery), responses(
    (status = 200, body = SandboxEventPage),
    (status = 404, body = ErrorBody, description = "There is no box yet."),
    (status = 409, body = ErrorBody, description = "The box cannot be made, started or stopped; the detail says why."),
))]
async fn read_sandbox_events(
    place: Place,
    ApiQuery(query): ApiQuery<EventsQuery>,
) -> Result<Json<SandboxEventPage>, ApiError> {
    let Place { sandboxes, owner, at } = place;
    let items = sandboxes.events(&owner, at, query.from_seq, MAX_EVENTS).await.map_err(refused)?;
    Ok(Json(SandboxEventPage::new(items, query.from_seq)))
}
