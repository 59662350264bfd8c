//! Starting and stopping commands.

use std::sync::Arc;

use axum::extract::State;
use longshore_protocol::{
    bash::{BashCommand, BashEvent, BashOutput, ExecuteBash},
    error::{ErrorBody, Success},
};
use serde::Deserialize;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    ApiError, Place,
    audit::Trail,
    extract::{ApiJson, ApiPath},
    respond::{Json, JsonWithNulls},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(start_bash_command))
        .route(|| routes!(execute_bash_command))
        .route(|| routes!(stop_bash_command))
}

/// Starts a command in `place`.
pub(crate) async fn start(state: &AppState, place: &Place, request: ExecuteBash) -> Result<BashEvent, ApiError> {
    state.activity().touch();
    let request = ExecuteBash { cwd: place.folder(request.cwd).await?, ..request };
    let command = state.bash().start(&place.scope, Arc::clone(&place.workspace), request).await?;
    Ok(command.into())
}

/// Runs a command in `place` to its end.
pub(crate) async fn execute(state: &AppState, place: &Place, request: ExecuteBash) -> Result<BashEvent, ApiError> {
    state.activity().touch();
    let request = ExecuteBash { cwd: place.folder(request.cwd).await?, ..request };
    let output = state.bash().execute(&place.scope, Arc::clone(&place.workspace), request).await?;
    state.activity().touch();
    Ok(output.into())
}

/// Ends a command of `place`.
pub(crate) async fn stop(state: &AppState, place: &Place, id: Uuid) -> Result<Success, ApiError> {
    state.activity().touch();
    if state.bash().stop(&place.scope, id).await? { Ok(Success::OK) } else { Err(ApiError::not_found("Not Found")) }
}

/// Starts a command and answers at once. Its output is in the events.
#[utoipa::path(post, path = "/bash/start_bash_command", tag = "Bash", request_body = ExecuteBash, responses(
    (status = 200, body = BashCommand),
    (status = 429, body = ErrorBody, description = "Too many commands are running."),
))]
async fn start_bash_command(
    State(state): State<AppState>,
    place: Place,
    trail: Trail,
    ApiJson(request): ApiJson<ExecuteBash>,
) -> Result<JsonWithNulls<BashEvent>, ApiError> {
    trail.command(&request.command, &state);
    start(&state, &place, request).await.map(JsonWithNulls)
}

/// Runs a command and answers when it has ended, with all that it wrote.
#[utoipa::path(post, path = "/bash/execute_bash_command", tag = "Bash", request_body = ExecuteBash, responses(
    (status = 200, body = BashOutput),
    (status = 429, body = ErrorBody, description = "Too many commands are running."),
))]
async fn execute_bash_command(
    State(state): State<AppState>,
    place: Place,
    trail: Trail,
    ApiJson(request): ApiJson<ExecuteBash>,
) -> Result<JsonWithNulls<BashEvent>, ApiError> {
    trail.command(&request.command, &state);
    execute(&state, &place, request).await.map(JsonWithNulls)
}

#[derive(Deserialize)]
struct CommandPath {
    command_id: Uuid,
}

/// Ends a command and all processes that it started: asked first, killed after a second.
#[utoipa::path(post, path = "/bash/bash_commands/{command_id}/stop", tag = "Bash",
    params(("command_id" = Uuid, Path, description = "The command.")),
    responses((status = 200, body = Success), (status = 404, body = ErrorBody, description = "There is no such command.")))]
async fn stop_bash_command(
    State(state): State<AppState>,
    place: Place,
    ApiPath(CommandPath { command_id: id }): ApiPath<CommandPath>,
) -> Result<Json<Success>, ApiError> {
    stop(&state, &place, id).await.map(Json)
}
