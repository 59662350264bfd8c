//! Files and folders, to look at.

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use longshore_protocol::error::ErrorBody;
use longshore_workspace::{Error, FileKind};
use utoipa_axum::routes;

use super::{
    list::{FolderListing, ListQuery, list},
    path::InFolder,
};
use crate::{
    ApiError,
    extract::ApiQuery,
    respond::Json,
    routes::file::{download::content, refused},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(list_files))
        .alias("/workspaces/{workspace_id}/files/", || routes!(list_files))
        .route(|| routes!(get_file))
}

/// What is in the workspace's folder.
#[utoipa::path(get, path = "/workspaces/{workspace_id}/files", tag = "Workspace files",
    params(("workspace_id" = Uuid, Path), ListQuery), responses(
        (status = 200, body = FolderListing),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "The workspace cannot be used; the detail says why."),
    ))]
async fn list_files(
    State(state): State<AppState>,
    folder: InFolder,
    ApiQuery(query): ApiQuery<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    show(&state, &folder, query, &headers).await
}

/// A file as it is, or with a `Range` header a part of it; of a folder, what is in it.
#[utoipa::path(get, path = "/workspaces/{workspace_id}/files/{path}", tag = "Workspace files",
    params(
        ("workspace_id" = Uuid, Path),
        ("path" = String, Path, description = "Below the workspace's folder; it may have slashes in it."),
        ListQuery,
    ),
    responses(
        (status = 200, content((Vec<u8> = "application/octet-stream"), (FolderListing = "application/json"))),
        (status = 206, content_type = "application/octet-stream", body = [u8], description = "A part of the file."),
        (status = 304, description = "The client has this content."),
        (status = 400, body = ErrorBody, description = "What is there can be neither read nor listed."),
        (status = 404, body = ErrorBody, description = "There is no such workspace or file."),
        (status = 409, body = ErrorBody, description = "The workspace cannot be used; the detail says why."),
        (status = 416, description = "The file has no such part."),
    ))]
async fn get_file(
    State(state): State<AppState>,
    file: InFolder,
    ApiQuery(query): ApiQuery<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    show(&state, &file, query, &headers).await
}

async fn show(state: &AppState, file: &InFolder, query: ListQuery, headers: &HeaderMap) -> Result<Response, ApiError> {
    state.activity().touch();
    let (workspace, path) = (&**file.workspace(), file.real().await?);
    let metadata = workspace.metadata(&path).await.map_err(|error| match error {
        Error::NotFound { .. } | Error::NotADirectory { .. } => ApiError::not_found("File not found"),
        error => refused(error),
    })?;
    if metadata.kind == FileKind::Directory {
        return Ok(Json(list(workspace, &path, &file.relative, query).await?).into_response());
    }
    if file.is_folder {
        return Err(ApiError::not_found("There is a file and no folder: leave the slash at the end out."));
    }
    content(workspace, &path, headers).await
}
