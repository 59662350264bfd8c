//! Change, sleep, wake and remove a box.

use longshore_protocol::{
    error::{ErrorBody, Success},
    sandbox::ResourceLimits,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Place, refused};
use crate::{ApiError, extract::ApiJson, respond::Json, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(change_sandbox))
        .route(|| routes!(pause_sandbox))
        .route(|| routes!(resume_sandbox))
        .route(|| routes!(remove_sandbox))
}

/// Body of `PATCH …/sandbox`.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeSandbox {
    /// What the box may use from now on; what is left out stays as it is.
    resource_limits: ResourceLimits,
}

/// Changes what the box may use, as far as the operator allows. A disk grows with all that is on it.
#[utoipa::path(patch, path = "/sandbox", tag = "Sandbox", request_body = ChangeSandbox, responses(
    (status = 200, body = Success),
    (status = 404, body = ErrorBody, description = "There is no box yet."),
    (status = 409, body = ErrorBody, description = "The box cannot take them; the detail says why."),
))]
async fn change_sandbox(place: Place, ApiJson(change): ApiJson<ChangeSandbox>) -> Result<Json<Success>, ApiError> {
    let Place { sandboxes, owner, at } = place;
    sandboxes.set_limits(&owner, at, change.resource_limits).await.map_err(refused)?;
    Ok(Json(Success::OK))
}

/// Puts the box to sleep, whoever uses it: its processes are halted and keep their memory. The next use wakes it.
#[utoipa::path(post, path = "/sandbox/pause", tag = "Sandbox", responses(
    (status = 200, body = Success),
    (status = 404, body = ErrorBody, description = "There is no box that runs."),
    (status = 409, body = ErrorBody, description = "The box cannot be made, started or stopped; the detail says why."),
))]
async fn pause_sandbox(place: Place) -> Result<Json<Success>, ApiError> {
    place.sandboxes.pause(&place.owner, place.at).await.map_err(refused)?;
    Ok(Json(Success::OK))
}

/// Wakes the box, or starts it again, or makes another in the place of one that was lost.
#[utoipa::path(post, path = "/sandbox/resume", tag = "Sandbox", responses(
    (status = 200, body = Success),
    (status = 404, body = ErrorBody, description = "There is no box yet."),
    (status = 409, body = ErrorBody, description = "The box cannot be made, started or stopped; the detail says why."),
))]
async fn resume_sandbox(place: Place) -> Result<Json<Success>, ApiError> {
    place.sandboxes.resume(&place.owner, place.at).await.map_err(refused)?;
    Ok(Json(Success::OK))
}

/// Removes the box with all files in it. The next use makes another.
#[utoipa::path(delete, path = "/sandbox", tag = "Sandbox", responses(
    (status = 200, body = Success),
    (status = 404, body = ErrorBody, description = "This server makes no boxes."),
    (status = 409, body = ErrorBody, description = "The box cannot be made, started or stopped; the detail says why."),
))]
async fn remove_sandbox(place: Place) -> Result<Json<Success>, ApiError> {
    place.sandboxes.destroy(&place.owner, place.at).await.map_err(refused)?;
    Ok(Json(Success::OK))
}
