//! A new workspace.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use longshore_protocol::{
    Secret, UtcTime,
    error::ErrorBody,
    sandbox::{NetworkMode, ResourceLimits, SandboxOptions},
};
use longshore_store::{Owner, WorkspaceRow};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    super::{here, here::Here, id_for},
    info::WorkspaceInfo,
    refused,
};
use crate::{
    ApiError, Principal, accounts::AccountError, audit::Trail, extract::ApiJson, respond::Json, routing::Routes,
    state::AppState,
};

/// Bytes of the name of a folder.
const MAX_PATH: usize = 4096;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(create_workspace))
}

/// Body of `POST /workspaces`. What is left out is as the operator decided for the user, or else for everybody; nobody gets
/// more than the operator allows.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct CreateWorkspace {
    /// What makes the box: `docker`, `bubblewrap` or `local`.
    backend: Option<String>,
    /// For `docker` an image; for `bubblewrap` a name among the operator's root file systems.
    image: Option<String>,
    /// What it may use.
    resource_limits: Option<ResourceLimits>,
    /// Seconds that one command may take.
    timeout: Option<u64>,
    /// Seconds without use after which the box sleeps.
    idle_timeout: Option<u64>,
    /// What it can reach.
    network_mode: Option<NetworkMode>,
    /// Hosts that it can reach, and nothing else: `example.com`, `*.example.com:443`.
    allowed_hosts: Option<Vec<String>>,
    /// Variables that every process in it gets. They do not come back in any answer.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    env: Option<BTreeMap<String, Secret>>,
    /// The folder that commands start in: 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    working_dir: Option<String>,
}

/// Makes a workspace. Its box is made when it is first used.
#[utoipa::path(post, path = "/workspaces", tag = "Workspaces", request_body = CreateWorkspace,
    params(("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "The same key again gives the same workspace.")),
    responses(
        (status = 201, body = WorkspaceInfo, description = "It is new."),
        (status = 200, body = WorkspaceInfo, description = "It was there before: the key was used for it."),
        (status = 409, body = ErrorBody, description = "The user has as many workspaces as may be."),
    ))]
async fn create_workspace(
    State(state): State<AppState>,
    principal: Principal,
    trail: Trail,
    headers: HeaderMap,
    ApiJson(wish): ApiJson<CreateWorkspace>,
) -> Result<(StatusCode, Json<WorkspaceInfo>), ApiError> {
    state.activity().touch();
    if principal.workspace().is_some() {
        return Err(ApiError::forbidden("This key opens one workspace only: use one that is not bound."));
    }
    let owner = principal.user();
    let id = id_for(&headers, owner, "workspace")?;
    let store = state.engine().store();
    let (options, working_dir) = resolve(&state, owner, wish).await?;
    let created_at = UtcTime(Timestamp::now());
    let row = WorkspaceRow { id, owner: owner.clone(), created_at, working_dir, options };
    let most = most(&state, owner).await?;
    trail.about("workspace", id.to_string());
    let (status, row) = if store.create_workspace(row.clone(), most).await? {
        (StatusCode::CREATED, row)
    } else if let Some(row) = store.workspace(owner, id).await? {
        (StatusCode::OK, row)
    } else {
        let sentence = format!("You have {most} workspaces, as many as you may have: delete one first.");
        return Err(ApiError::conflict(sentence));
    };
    let info = WorkspaceInfo::of(&state, &Here::of_row(&state, &principal, row)?).await?;
    Ok((status, Json(info)))
}

/// What a workspace is made from that is wished for like this, and its folder.
async fn resolve(state: &AppState, owner: &Owner, wish: CreateWorkspace) -> Result<(SandboxOptions, String), ApiError> {
    let CreateWorkspace {
        backend,
        image,
        resource_limits,
        timeout,
        idle_timeout,
        network_mode,
        allowed_hosts,
        env,
        working_dir,
    } = wish;
    let options =
        SandboxOptions { backend, image, resource_limits, timeout, idle_timeout, network_mode, allowed_hosts, env };
    let sandboxes = here::sandboxes(state)?;
    let options = state.workspaces().wished(owner, options).await.map_err(ApiError::conflict)?;
    sandboxes.check(&options).map_err(refused)?;
    let folder = match working_dir {
        None => sandboxes.working_dir().to_owned(),
        Some(folder) if folder.is_empty() || folder.len() > MAX_PATH || folder.contains('\0') => {
            let sentence = format!("working_dir must have 1 to {MAX_PATH} bytes, and no zero byte.");
            return Err(ApiError::unprocessable(sentence));
        }
        Some(folder) => sandboxes.folder(&options, &folder).map_err(refused)?,
    };
    let folder = folder.into_os_string().into_string();
    let folder = folder.map_err(|_| ApiError::unprocessable("working_dir must be an absolute path here."))?;
    Ok((options, folder))
}

/// Workspaces that the user may have besides the own one.
async fn most(state: &AppState, owner: &Owner) -> Result<u64, ApiError> {
    let decided = match owner.0.parse() {
        Ok(name) => match state.accounts().user(&name).await {
            Ok(user) => user.options.max_workspaces,
            Err(AccountError::NoSuchUser(_)) => None,
            Err(error) => return Err(error.into()),
        },
        Err(_) => None,
    };
    Ok(decided.map_or(state.options().limits.max_workspaces_per_user, u64::from))
}
