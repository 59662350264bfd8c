//! Files that differ from the base.

use axum::extract::State;
use longshore_protocol::{error::ErrorBody, git::GitChange};
use longshore_workspace::git;
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
    Routes::default().route(|| routes!(git_changes))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// The folder of a repository: an absolute path.
    #[param(inline)]
    path: RawPath,
    /// The base; what the branch was made from if absent.
    #[serde(default)]
    r#ref: Option<String>,
}

/// What changed below a folder of `place`.
pub(crate) async fn changes(place: &Place, query: Query) -> Result<Vec<GitChange>, ApiError> {
    let path = place.path(query.path.0).await?;
    git::changes(&*place.workspace, &path, query.r#ref.as_deref()).await.map_err(refused)
}

/// Files in a folder that differ from the base of its branch, or from another commit. Empty for what is no repository.
#[utoipa::path(get, path = "/git/changes", tag = "Git", params(Query), responses(
    (status = 200, body = [GitChange]),
    (status = 400, body = ErrorBody, description = "Git refuses, or the path is relative."),
    (status = 403, body = ErrorBody, description = "The system does not allow it."),
    (status = 404, body = ErrorBody, description = "There is no such file or folder."),
))]
async fn git_changes(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
) -> Result<Json<Vec<GitChange>>, ApiError> {
    state.activity().touch();
    changes(&place, query).await.map(Json)
}
