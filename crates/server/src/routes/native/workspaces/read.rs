//! Workspaces, one and all.

use axum::extract::State;
use longshore_protocol::error::ErrorBody;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{super::here::Here, info::WorkspaceInfo};
use crate::{
    ApiError, Principal,
    boxed::own_workspace_id,
    extract::ApiQuery,
    respond::Json,
    routes::admin::{Listed, PageQuery},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(list_workspaces)).route(|| routes!(get_workspace))
}

/// The workspaces of the user, the one that every user has first, then the oldest. A key that is bound to one sees that one.
#[utoipa::path(get, path = "/workspaces", tag = "Workspaces", params(PageQuery), responses(
    (status = 200, body = Listed<WorkspaceInfo>),
))]
async fn list_workspaces(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(page): ApiQuery<PageQuery>,
) -> Result<Json<Listed<WorkspaceInfo>>, ApiError> {
    let limit = page.limit()?;
    let own = own_workspace_id(principal.user());
    if let Some(bound) = principal.workspace() {
        let here = Here::find(&state, principal, bound).await?;
        return Ok(Json(Listed::complete(vec![WorkspaceInfo::of(&state, &here).await?])));
    }
    // A page that is not there is the first one.
    let from: Option<Uuid> = page.page_id.as_deref().and_then(|id| id.parse().ok()).filter(|id| *id != own);
    let mut items = Vec::new();
    if from.is_none() {
        let here = Here::find(&state, principal.clone(), own).await?;
        items.push(WorkspaceInfo::of(&state, &here).await?);
    }
    let rows = state.engine().store().workspaces(principal.user(), from, limit - items.len()).await?;
    for row in rows.items {
        items.push(WorkspaceInfo::of(&state, &Here::of_row(&state, &principal, row)?).await?);
    }
    Ok(Json(Listed::before(items, rows.next)))
}

/// A workspace and what it is doing.
#[utoipa::path(get, path = "/workspaces/{workspace_id}", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path)), responses(
        (status = 200, body = WorkspaceInfo),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
    ))]
async fn get_workspace(State(state): State<AppState>, here: Here) -> Result<Json<WorkspaceInfo>, ApiError> {
    WorkspaceInfo::of(&state, &here).await.map(Json)
}
