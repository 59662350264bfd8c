//! A file now and in the base.

use axum::extract::State;
use longshore_protocol::{error::ErrorBody, git::GitDiff};
use longshore_workspace::git;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{Sha, refused};
use crate::{
    ApiError, Place,
    extract::{ApiQuery, RawPath},
    respond::JsonWithNulls,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(git_diff))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// The file: an absolute path.
    #[param(inline)]
    path: RawPath,
    /// The base; what the branch was made from if absent.
    #[serde(default)]
    r#ref: Option<String>,
    /// Shows what this commit did instead.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{4,64}$")]
    commit: Option<Sha>,
}

/// A file of `place` now and in the base, or after and before a commit.
pub(crate) async fn diff(place: &Place, query: Query) -> Result<GitDiff, ApiError> {
    if query.r#ref.is_some() && query.commit.is_some() {
        return Err(ApiError::bad_request("'ref' and 'commit' are mutually exclusive"));
    }
    let path = place.path(query.path.0).await?;
    let diff = match query.commit {
        Some(Sha(commit)) => git::commit_diff(&*place.workspace, &path, &commit).await,
        None => git::diff(&*place.workspace, &path, query.r#ref.as_deref()).await,
    };
    diff.map_err(refused)
}

/// The text of a file now and in the base of its branch, or after and before a commit. Nulls for a file in no repository.
#[utoipa::path(get, path = "/git/diff", tag = "Git", params(Query), responses(
    (status = 200, body = GitDiff),
    (status = 400, body = ErrorBody, description = "Git refuses, or the file is missing or too large."),
    (status = 403, body = ErrorBody, description = "The system does not allow it."),
    (status = 404, body = ErrorBody, description = "There is no such file or folder."),
))]
async fn git_diff(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
) -> Result<JsonWithNulls<GitDiff>, ApiError> {
    state.activity().touch();
    diff(&place, query).await.map(JsonWithNulls)
}
