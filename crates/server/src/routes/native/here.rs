//! The workspace in a path.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use longshore_engine::bash::Scope;
use longshore_sandbox::Sandboxes;
use longshore_store::{At, Owner, WorkspaceRow};
use longshore_workspace::Workspace;
use serde::Deserialize;
use uuid::Uuid;

use crate::{ApiError, Principal, boxed::own_workspace_id, extract::ApiPath, state::AppState};

/// The workspace in a path, which is one of the principal's.
pub(super) struct Here {
    pub(super) id: Uuid,
    /// What is stored of it; none for the workspace that every user has.
    pub(super) row: Option<WorkspaceRow>,
    pub(super) sandboxes: Sandboxes,
    principal: Principal,
}

#[derive(Deserialize)]
struct InWorkspace {
    workspace_id: Uuid,
}

impl FromRequestParts<AppState> for Here {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let ApiPath(InWorkspace { workspace_id }) = ApiPath::from_request_parts(parts, state).await?;
        state.activity().touch();
        Self::find(state, principal, workspace_id).await
    }
}

impl Here {
    /// The workspace with this id.
    ///
    /// # Errors
    /// 404 if the principal has no such workspace or does not reach it.
    pub(super) async fn find(state: &AppState, principal: Principal, id: Uuid) -> Result<Self, ApiError> {
        let not_found = || ApiError::not_found(format!("Workspace not found: {id}"));
        if principal.workspace().is_some_and(|bound| bound != id) {
            return Err(not_found());
        }
        let row = if id == own_workspace_id(principal.user()) {
            None
        } else {
            let row = state.engine().store().workspace(principal.user(), id).await?;
            Some(row.ok_or_else(not_found)?)
        };
        Ok(Self { id, row, sandboxes: sandboxes(state)?, principal })
    }

    /// A workspace that the principal made and that was just read.
    pub(super) fn of_row(state: &AppState, principal: &Principal, row: WorkspaceRow) -> Result<Self, ApiError> {
        let (id, principal) = (row.id, principal.clone());
        Ok(Self { id, row: Some(row), sandboxes: sandboxes(state)?, principal })
    }

    pub(super) fn owner(&self) -> &Owner {
        self.principal.user()
    }

    /// Which of the user's places it is.
    pub(super) fn at(&self) -> At {
        if self.row.is_some() { At::Workspace(self.id) } else { At::Own }
    }

    /// Whose commands run there.
    pub(super) fn scope(&self) -> Scope {
        Scope { owner: self.owner().clone(), at: self.at() }
    }

    /// The folder that commands start in.
    pub(super) fn working_dir(&self) -> String {
        let own = || self.sandboxes.working_dir().to_string_lossy().into_owned();
        self.row.as_ref().map_or_else(own, |row| row.working_dir.clone())
    }

    /// The place itself, in which its folder is there.
    ///
    /// # Errors
    /// 409 with why it cannot be used.
    pub(super) async fn workspace(&self, state: &AppState) -> Result<Arc<dyn Workspace>, ApiError> {
        let unusable =
            |error: longshore_workspace::Error| ApiError::conflict(format!("The workspace cannot be used: {error}"));
        let principal = self.principal.clone().bound_to(self.id);
        let workspace = state.workspaces().workspace(&principal).await.map_err(unusable)?;
        workspace.create_dir(workspace.working_dir()).await.map_err(unusable)?;
        Ok(workspace)
    }
}

/// The boxes of this server.
///
/// # Errors
/// 404 if it makes none.
pub(super) fn sandboxes(state: &AppState) -> Result<Sandboxes, ApiError> {
    state.workspaces().sandboxes().ok_or_else(|| ApiError::not_found("This server makes no workspaces"))
}
