//! Sleep, wake and remove a box.

use longshore_protocol::error::{ErrorBody, Success};
use utoipa_axum::routes;

use super::{Place, refused};
use crate::{ApiError, respond::Json, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(pause)).route(|| routes!(resume)).route(|| routes!(remove))
}

/// Puts the box to sleep, whoever uses it: its processes are halted and keep their memory. The next use wakes it.
#[utoipa::path(post, path = "/sandbox/pause", tag = "Sandbox", responses(
    (status = 200, body = Success),
    (status = 404, body = ErrorBody, description = "There is no box that runs."),
))]
async fn pause(place: Place) -> Result<Json<Success>, ApiError> {
    place.sandboxes.pause(&place.owner, place.conversation).await.map_err(refused)?;
    Ok(Json(Success::OK))
}

/// Wakes the box, or starts it again, or makes another in the place of one that was lost.
#[utoipa::path(post, path = "/sandbox/resume", tag = "Sandbox", responses(
    (status = 200, body = Success),
    (status = 404, body = ErrorBody, description = "There is no box yet."),
))]
async fn resume(place: Place) -> Result<Json<Success>, ApiError> {
    place.sandboxes.resume(&place.owner, place.conversation).await.map_err(refused)?;
    Ok(Json(Success::OK))
}

/// Removes the box with all files in it. The next use makes another.
#[utoipa::path(delete, path = "/sandbox", tag = "Sandbox", responses((status = 200, body = Success)))]
async fn remove(place: Place) -> Result<Json<Success>, ApiError> {
    place.sandboxes.destroy(&place.owner, place.conversation).await.map_err(refused)?;
    Ok(Json(Success::OK))
}
