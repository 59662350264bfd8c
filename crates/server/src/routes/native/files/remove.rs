//! Files and folders, to remove.

use axum::http::StatusCode;
use longshore_protocol::error::ErrorBody;
use longshore_workspace::{Error, FileKind};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::path::InFolder;
use crate::{ApiError, extract::ApiQuery, routes::file::refused, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(delete_file))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RemoveQuery {
    /// Whether a folder goes with all that is in it.
    #[serde(default)]
    recursive: bool,
}

/// Removes a file, a symbolic link, or a folder: an empty one, or with `recursive` one with all that is in it.
#[utoipa::path(delete, path = "/workspaces/{workspace_id}/files/{path}", tag = "Workspace files",
    params(("workspace_id" = Uuid, Path), ("path" = String, Path), RemoveQuery), responses(
        (status = 204, description = "It is gone."),
        (status = 400, body = ErrorBody, description = "It cannot be removed; the detail says why."),
        (status = 404, body = ErrorBody, description = "There is no such workspace or file."),
        (status = 409, body = ErrorBody, description = "The folder is not empty, or the workspace cannot be used."),
    ))]
async fn delete_file(file: InFolder, ApiQuery(query): ApiQuery<RemoveQuery>) -> Result<StatusCode, ApiError> {
    let (workspace, path) = (file.workspace(), file.entry().await?);
    let not_found = || ApiError::not_found("File not found");
    let gone = |error| match error {
        Error::NotFound { .. } | Error::NotADirectory { .. } => not_found(),
        error => refused(error),
    };
    if !query.recursive {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(not_found()) };
        let entries = workspace.list(folder).await.map_err(gone)?;
        let entry = entries.iter().find(|entry| entry.name == name).ok_or_else(not_found)?;
        if entry.kind == FileKind::Directory && !workspace.list(&path).await.map_err(gone)?.is_empty() {
            return Err(ApiError::conflict(
                "The folder is not empty: add ?recursive=true to remove all that is in it.",
            ));
        }
    }
    workspace.remove(&path).await.map_err(gone)?;
    Ok(StatusCode::NO_CONTENT)
}
