//! Other limits for a workspace.

use axum::extract::State;
use longshore_protocol::{
    error::ErrorBody,
    sandbox::{ResourceLimits, SandboxOptions},
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{super::here::Here, info::WorkspaceInfo, refused};
use crate::{ApiError, extract::ApiJson, respond::Json, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(change_workspace))
}

/// Body of `PATCH /workspaces/{id}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeWorkspace {
    /// What it may use from now on; what is left out stays as it is.
    resource_limits: ResourceLimits,
}

/// Changes what a workspace may use, as far as the operator allows. A disk grows with all that is on it.
#[utoipa::path(patch, path = "/workspaces/{workspace_id}", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path)), request_body = ChangeWorkspace, responses(
        (status = 200, body = WorkspaceInfo),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "It cannot take them; the detail says why."),
    ))]
async fn change_workspace(
    State(state): State<AppState>,
    mut here: Here,
    ApiJson(change): ApiJson<ChangeWorkspace>,
) -> Result<Json<WorkspaceInfo>, ApiError> {
    let limits = change.resource_limits;
    let options = here.row.as_ref().map(|row| {
        let limits = limits.or(row.options.resource_limits.unwrap_or_default());
        SandboxOptions { resource_limits: Some(limits), ..row.options.clone() }
    });
    if let Some(options) = &options {
        here.sandboxes.check(options).map_err(refused)?;
    }
    // A workspace that every user has and that was never used has nothing that could keep them.
    if here.row.is_none() || here.sandboxes.info(here.owner(), here.at()).is_some() {
        here.sandboxes.set_limits(here.owner(), here.at(), limits).await.map_err(refused)?;
    }
    if let (Some(options), Some(row)) = (options, &mut here.row) {
        let store = state.engine().store();
        if !store.set_workspace_options(&row.owner, row.id, options.clone()).await? {
            return Err(ApiError::not_found(format!("Workspace not found: {}", row.id)));
        }
        row.options = options;
    }
    WorkspaceInfo::of(&state, &here).await.map(Json)
}
