//! Sleep, wake, and what happened to a workspace.

use axum::extract::State;
use longshore_protocol::error::ErrorBody;
use longshore_sandbox::Error;
use utoipa_axum::routes;

use super::{super::here::Here, info::WorkspaceInfo, refused};
use crate::{
    ApiError,
    extract::ApiQuery,
    respond::Json,
    routes::sandbox::events::{EventsQuery, MAX_EVENTS, SandboxEventPage},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(pause_workspace))
        .route(|| routes!(resume_workspace))
        .route(|| routes!(read_workspace_events))
}

/// Puts a workspace to sleep, whoever uses it: its processes are halted and keep their memory. The next use wakes it.
#[utoipa::path(post, path = "/workspaces/{workspace_id}/pause", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path)), responses(
        (status = 200, body = WorkspaceInfo),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "It has no box that could sleep; the detail says why."),
    ))]
async fn pause_workspace(State(state): State<AppState>, here: Here) -> Result<Json<WorkspaceInfo>, ApiError> {
    here.sandboxes.pause(here.owner(), here.at()).await.map_err(refused)?;
    WorkspaceInfo::of(&state, &here).await.map(Json)
}

/// Wakes a workspace, or starts it again, or makes its box if there is none.
#[utoipa::path(post, path = "/workspaces/{workspace_id}/resume", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path)), responses(
        (status = 200, body = WorkspaceInfo),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "Its box cannot be made or started; the detail says why."),
    ))]
async fn resume_workspace(State(state): State<AppState>, here: Here) -> Result<Json<WorkspaceInfo>, ApiError> {
    here.workspace(&state).await?;
    WorkspaceInfo::of(&state, &here).await.map(Json)
}

/// States and their reasons, hosts that could not be reached, warnings. The latest ten thousand are kept.
#[utoipa::path(get, path = "/workspaces/{workspace_id}/events", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path), EventsQuery), responses(
        (status = 200, body = SandboxEventPage),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
    ))]
async fn read_workspace_events(
    here: Here,
    ApiQuery(query): ApiQuery<EventsQuery>,
) -> Result<Json<SandboxEventPage>, ApiError> {
    match here.sandboxes.events(here.owner(), here.at(), query.from_seq, MAX_EVENTS).await {
        Ok(items) => Ok(Json(SandboxEventPage::new(items, query.from_seq))),
        // Nothing happened yet.
        Err(Error::Gone(_)) => Ok(Json(SandboxEventPage::new(Vec::new(), query.from_seq))),
        Err(error) => Err(refused(error)),
    }
}
