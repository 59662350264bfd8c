//! The end of a workspace.

use axum::{extract::State, http::StatusCode};
use longshore_protocol::error::ErrorBody;
use utoipa_axum::routes;

use super::{super::here::Here, refused};
use crate::{ApiError, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(delete_workspace))
}

/// Removes a workspace with all that is in it. Conversations in it can still be read. The workspace that every user has is
/// emptied: the next use makes it anew.
#[utoipa::path(delete, path = "/workspaces/{workspace_id}", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path)), responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "It cannot be removed now; the detail says why."),
    ))]
async fn delete_workspace(State(state): State<AppState>, here: Here) -> Result<StatusCode, ApiError> {
    let (owner, at) = (here.owner(), here.at());
    if here.row.is_none() {
        here.sandboxes.destroy(owner, at).await.map_err(refused)?;
        return Ok(StatusCode::NO_CONTENT);
    }
    // The row first: without it nobody gets a new box there.
    if !state.engine().store().delete_workspace(owner, here.id).await? {
        return Err(ApiError::not_found(format!("Workspace not found: {}", here.id)));
    }
    if let Err(error) = here.sandboxes.forget(owner, at).await {
        tracing::warn!(workspace.id = %here.id, %error, "the box of a deleted workspace stays for now");
    }
    Ok(StatusCode::NO_CONTENT)
}
