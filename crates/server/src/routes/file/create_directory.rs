//! Making folders.

use axum::extract::State;
use longshore_protocol::error::{ErrorBody, Success};
use longshore_workspace::Error;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::refused;
use crate::{
    ApiError, Place,
    extract::{ApiQuery, RawPath},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(create_directory))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// An absolute path.
    #[param(inline)]
    path: RawPath,
}

/// Makes a folder in `place`.
pub(crate) async fn create(place: &Place, query: Query) -> Result<Success, ApiError> {
    let path = place.path(query.path.0).await?;
    match place.workspace.create_dir(&path).await {
        Ok(()) => Ok(Success::OK),
        Err(Error::NotADirectory { .. } | Error::AlreadyExists { .. }) => {
            Err(ApiError::bad_request("Path exists and is not a directory"))
        }
        Err(error) => Err(refused(error)),
    }
}

/// Makes a folder and its parents. Does nothing if it is there.
#[utoipa::path(post, path = "/file/create_directory", tag = "Files", params(Query), responses(
    (status = 200, body = Success),
    (status = 400, body = ErrorBody, description = "The path is relative, or something else is there."),
    (status = 403, body = ErrorBody, description = "The system does not allow it."),
    (status = 507, body = ErrorBody, description = "The disk is full."),
))]
async fn create_directory(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
) -> Result<Json<Success>, ApiError> {
    state.activity().touch();
    create(&place, query).await.map(Json)
}
