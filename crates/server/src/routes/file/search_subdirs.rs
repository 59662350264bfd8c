//! Folders in a folder.

use std::path::Path;

use axum::extract::State;
use longshore_protocol::{
    error::ErrorBody,
    file::{Folder, FolderPage},
};
use longshore_workspace::{Error, FileKind};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::refused;
use crate::{
    ApiError, Place,
    extract::{ApiQuery, Least, RawPath, bounded},
    respond::JsonWithNulls,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(search_subdirs))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Query {
    /// An absolute path.
    #[param(inline)]
    path: RawPath,
    /// Where to begin: `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<String>,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
    /// Whether to list folders whose names begin with a dot.
    #[serde(default)]
    include_hidden: bool,
}

/// Folders in a folder, in the order of their names whatever their case. Symbolic links are left out.
#[utoipa::path(get, path = "/api/file/search_subdirs", tag = "Files", params(Query), responses(
    (status = 200, body = FolderPage),
    (status = 400, body = ErrorBody, description = "The path is relative, or no folder."),
    (status = 403, body = ErrorBody, description = "The system does not allow it."),
    (status = 404, body = ErrorBody, description = "There is no such folder."),
))]
async fn search_subdirs(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
) -> Result<JsonWithNulls<FolderPage>, ApiError> {
    state.activity().touch();
    let limit = bounded("limit", query.limit, Least::Above(0), 100, 100)?;
    let path = place.path(query.path.0).await?;
    let mut items = folders(&place, &path, query.include_hidden).await?;
    if let Some(first) = query.page_id.map(|name| key(&name)) {
        items.retain(|folder| key(&folder.name) >= first);
    }
    let next_page_id = items.get(limit).map(|folder| folder.name.clone());
    items.truncate(limit);
    Ok(JsonWithNulls(FolderPage { items, next_page_id }))
}

/// The folders in a folder, sorted. A name that is no UTF-8 is left out, because it could not be asked for.
pub(super) async fn folders(place: &Place, path: &Path, include_hidden: bool) -> Result<Vec<Folder>, ApiError> {
    let entries = place.workspace.list(path).await.map_err(|error| match error {
        Error::NotFound { .. } => ApiError::not_found("Directory not found"),
        Error::NotADirectory { .. } => ApiError::bad_request("Path is not a directory"),
        error => refused(error),
    })?;
    let names = entries
        .into_iter()
        .filter(|entry| entry.kind == FileKind::Directory)
        .filter_map(|entry| entry.name.into_string().ok())
        .filter(|name| include_hidden || !name.starts_with('.'));
    let mut folders: Vec<_> =
        names.filter_map(|name| Some(Folder { path: path.join(&name).to_str()?.to_owned(), name })).collect();
    folders.sort_by_cached_key(|folder| key(&folder.name));
    Ok(folders)
}

fn key(name: &str) -> (String, String) {
    (name.to_lowercase(), name.to_owned())
}
