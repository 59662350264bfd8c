//! The latest commits and what they changed.

use axum::extract::State;
use longshore_protocol::{
    error::ErrorBody,
    git::{GitChange, GitCommitPage},
};
use longshore_workspace::git;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{Sha, refused};
use crate::{
    ApiError, Place,
    extract::{ApiPath, ApiQuery, Least, RawPath, bounded},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(git_commits)).route(|| routes!(git_commit_changes))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The folder of a repository: an absolute path.
    #[param(inline)]
    path: RawPath,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FolderQuery {
    /// The folder of a repository: an absolute path.
    #[param(inline)]
    path: RawPath,
}

#[derive(Deserialize)]
struct CommitPath {
    sha: Sha,
}

/// The latest commits of a repository in `place`.
pub(crate) async fn commits(place: &Place, query: PageQuery) -> Result<GitCommitPage, ApiError> {
    let limit = bounded("limit", query.limit, Least::From(1), 200, 50)?;
    let path = place.path(query.path.0).await?;
    git::commits(&*place.workspace, &path, limit).await.map_err(refused)
}

/// What a commit of a repository in `place` changed.
pub(crate) async fn commit_changes(place: &Place, sha: Sha, query: FolderQuery) -> Result<Vec<GitChange>, ApiError> {
    let path = place.path(query.path.0).await?;
    git::commit_changes(&*place.workspace, &path, &sha.0).await.map_err(refused)
}

/// The latest commits, newest first.
#[utoipa::path(get, path = "/git/commits", tag = "Git", params(PageQuery), responses(
    (status = 200, body = GitCommitPage),
    (status = 400, body = ErrorBody, description = "Git refuses, or the path is relative."),
    (status = 403, body = ErrorBody, description = "The system does not allow it."),
    (status = 404, body = ErrorBody, description = "There is no such file or folder."),
))]
async fn git_commits(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<GitCommitPage>, ApiError> {
    state.activity().touch();
    commits(&place, query).await.map(Json)
}

/// Files that a commit changed.
#[utoipa::path(get, path = "/git/commits/{sha}/changes", tag = "Git",
    params(("sha" = String, Path, description = "The commit.", pattern = "^[0-9a-fA-F]{4,64}$"), FolderQuery),
    responses(
        (status = 200, body = [GitChange]),
        (status = 400, body = ErrorBody, description = "There is no such commit, or the path is relative."),
        (status = 403, body = ErrorBody, description = "The system does not allow it."),
        (status = 404, body = ErrorBody, description = "There is no such file or folder."),
    ))]
async fn git_commit_changes(
    State(state): State<AppState>,
    place: Place,
    ApiPath(CommitPath { sha }): ApiPath<CommitPath>,
    ApiQuery(query): ApiQuery<FolderQuery>,
) -> Result<Json<Vec<GitChange>>, ApiError> {
    state.activity().touch();
    commit_changes(&place, sha, query).await.map(Json)
}
