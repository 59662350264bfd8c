//! What a box is doing.

use longshore_protocol::{error::ErrorBody, sandbox::SandboxInfo};
use utoipa_axum::routes;

use super::Place;
use crate::{ApiError, respond::Json, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(read_sandbox))
}

/// The box, what it is made from and what it is doing.
#[utoipa::path(get, path = "/sandbox", tag = "Sandbox", responses(
    (status = 200, body = SandboxInfo),
    (status = 404, body = ErrorBody, description = "There is no box yet; it is made when it is first used."),
    (status = 409, body = ErrorBody, description = "The box cannot be made, started or stopped; the detail says why."),
))]
async fn read_sandbox(place: Place) -> Result<Json<SandboxInfo>, ApiError> {
    let info = place.sandboxes.info(&place.owner, place.at);
    info.map(Json).ok_or_else(|| ApiError::not_found("There is no box yet; it is made when it is first used"))
}
