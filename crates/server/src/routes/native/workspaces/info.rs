//! A workspace as its user sees it.

use longshore_protocol::{
    UtcTime,
    sandbox::{NetworkMode, ResourceLimits, SandboxInfo, SandboxOptions, SandboxState},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::here::Here;
use crate::{ApiError, state::AppState};

/// A place to work in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Workspace)]
pub(super) struct WorkspaceInfo {
    /// Its id.
    id: Uuid,
    /// Whose it is.
    user_id: String,
    /// Whether it is the one that every user has, in which requests act that name none.
    is_own: bool,
    /// What it is doing.
    status: WorkspaceStatus,
    /// Why, in words.
    reason: String,
    /// What makes its box.
    backend: String,
    /// The image that its box is made from, if one was chosen.
    image: Option<String>,
    /// What it may use.
    resource_limits: ResourceLimits,
    /// Seconds that one command may take.
    timeout: Option<u64>,
    /// Seconds without use after which it sleeps.
    idle_timeout: Option<u64>,
    /// What it can reach.
    network_mode: Option<NetworkMode>,
    /// Hosts that it can reach.
    allowed_hosts: Option<Vec<String>>,
    /// The folder that commands start in and that files are in.
    working_dir: String,
    /// When it was made; the workspace that every user has is made when it is first used.
    created_at: Option<UtcTime>,
    /// When it was last used.
    last_used_at: Option<UtcTime>,
}

/// What a workspace is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WorkspaceStatus {
    /// It has no box yet; one is made when it is first used.
    Created,
    /// Its box waits for its turn to be made.
    Queued,
    /// The image of its box is fetched.
    Pulling,
    /// Its box is made or started.
    Starting,
    /// It can be used.
    Ready,
    /// It sleeps; the next use wakes it.
    Paused,
    /// Its processes are gone, its files kept; the next use starts it.
    Stopped,
    /// Its box died; the next use starts it again or makes another.
    Lost,
    /// Its box cannot be made or started; the next use tries again.
    Failed,
}

impl From<SandboxState> for WorkspaceStatus {
    fn from(state: SandboxState) -> Self {
        match state {
            SandboxState::Queued => Self::Queued,
            SandboxState::Pulling => Self::Pulling,
            SandboxState::Starting => Self::Starting,
            SandboxState::Ready => Self::Ready,
            SandboxState::Paused => Self::Paused,
            SandboxState::Stopped => Self::Stopped,
            SandboxState::Lost => Self::Lost,
            SandboxState::Failed => Self::Failed,
        }
    }
}

impl WorkspaceInfo {
    /// What is known of a workspace.
    pub(super) async fn of(state: &AppState, here: &Here) -> Result<Self, ApiError> {
        let made = here.sandboxes.info(here.owner(), here.at());
        let row_time = here.row.as_ref().map(|row| row.created_at);
        if let Some(SandboxInfo { state, reason, options, created_at, used_at, .. }) = made {
            let times = (row_time.or(Some(created_at)), Some(used_at));
            return Ok(Self::new(here, state.into(), reason, options, times));
        }
        let wish = match &here.row {
            Some(row) => row.options.clone(),
            None => {
                state.workspaces().wished(here.owner(), SandboxOptions::default()).await.map_err(ApiError::conflict)?
            }
        };
        let times = (row_time, None);
        Ok(match here.sandboxes.options(&wish) {
            Ok(options) => {
                let reason = "Its box is made when it is first used.".to_owned();
                Self::new(here, WorkspaceStatus::Created, reason, options, times)
            }
            // The operator allowed more when it was made.
            Err(error) => Self::new(here, WorkspaceStatus::Failed, error.to_string(), wish, times),
        })
    }

    fn new(
        here: &Here,
        status: WorkspaceStatus,
        reason: String,
        options: SandboxOptions,
        (created_at, last_used_at): (Option<UtcTime>, Option<UtcTime>),
    ) -> Self {
        // Variables may be secrets, so they never come back.
        let SandboxOptions {
            backend, image, resource_limits, timeout, idle_timeout, network_mode, allowed_hosts, ..
        } = options;
        Self {
            id: here.id,
            user_id: here.owner().0.to_string(),
            is_own: here.row.is_none(),
            status,
            reason,
            backend: backend.unwrap_or_default(),
            image,
            resource_limits: resource_limits.unwrap_or_default(),
            timeout,
            idle_timeout,
            network_mode,
            allowed_hosts,
            working_dir: here.working_dir(),
            created_at,
            last_used_at,
        }
    }
}
