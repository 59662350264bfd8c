//! Commands in a workspace.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use axum::extract::State;
use longshore_engine::bash::{Captured, Error, Once};
use longshore_protocol::error::ErrorBody;
use longshore_workspace::{Command, Error as WorkspaceError, ExitStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::here::Here;
use crate::{ApiError, audit::Trail, extract::ApiJson, respond::Json, routing::Routes, state::AppState};

/// Seconds that a command may take that says nothing of it.
const DEFAULT_TIMEOUT: u64 = 300;

/// Seconds that a command may ask for.
const MAX_TIMEOUT: u64 = 24 * 3600;

/// Bytes that are kept of standard output, and of standard error.
const MAX_OUTPUT: usize = 1 << 20;

/// Variables of one command.
const MAX_VARIABLES: usize = 256;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(execute_command))
}

/// Body of `POST /workspaces/{id}/execute`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExecuteCommand {
    /// A command for `/bin/sh`.
    command: String,
    /// The folder it starts in; a relative one is below the workspace's.
    #[serde(default)]
    cwd: Option<String>,
    /// Seconds that it may take: 1 to 86400. A shorter limit of the workspace itself counts first.
    #[serde(default = "default_timeout")]
    #[schema(minimum = 1, maximum = 86400, default = 300)]
    timeout: u64,
    /// Variables on top of the workspace's: 256 at most.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// What it reads on standard input.
    #[serde(default)]
    stdin: String,
}

fn default_timeout() -> u64 {
    DEFAULT_TIMEOUT
}

/// What came of a command.
#[derive(Debug, Serialize, ToSchema)]
struct ExecutedCommand {
    /// How it ended: the exit code, or −n for signal n; −1 if its time was over.
    exit_code: i32,
    /// Standard output: the first mebibyte.
    stdout: String,
    /// Standard error: the first mebibyte.
    stderr: String,
    /// Whether it was ended because its time was over.
    timeout_occurred: bool,
    /// Whether there was more on standard output.
    stdout_truncated: bool,
    /// Whether there was more on standard error.
    stderr_truncated: bool,
}

/// Runs a command to its end and answers with what it wrote. The command ends when the client goes away: whoever wants it to go on without
/// waiting starts it in the background, or over `/api/bash`.
#[utoipa::path(post, path = "/workspaces/{workspace_id}/execute", tag = "Workspaces",
    params(("workspace_id" = Uuid, Path)), request_body = ExecuteCommand, responses(
        (status = 200, body = ExecutedCommand),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "The workspace cannot be used; the detail says why."),
        (status = 429, body = ErrorBody, description = "Too many commands are running."),
    ))]
async fn execute_command(
    State(state): State<AppState>,
    here: Here,
    trail: Trail,
    ApiJson(wish): ApiJson<ExecuteCommand>,
) -> Result<Json<ExecutedCommand>, ApiError> {
    trail.command(&wish.command, &state);
    let mut once = once(wish)?;
    let workspace = here.workspace(&state).await?;
    let own = here.sandboxes.info(here.owner(), here.at()).and_then(|made| made.options.timeout);
    if let Some(limit) = own.filter(|limit| *limit > 0) {
        once.timeout = once.timeout.min(Duration::from_secs(limit));
    }
    let began = Instant::now();
    let mut finished = state.bash().once(&here.scope(), workspace, once).await.map_err(refused)?;
    state.activity().touch();
    // The workspace ends the command at its own limit, too; whichever is first, the time was over.
    let was_ended = matches!(finished.status, Some(ExitStatus::Signaled(_)));
    finished.timed_out |= was_ended && own.is_some_and(|own| own > 0 && began.elapsed() >= Duration::from_secs(own));
    let exit_code = finished.status.filter(|_| !finished.timed_out).map_or(-1, ExitStatus::shell_code);
    let (stdout, stdout_truncated) = text(&finished.stdout);
    let (stderr, stderr_truncated) = text(&finished.stderr);
    let timeout_occurred = finished.timed_out;
    Ok(Json(ExecutedCommand { exit_code, stdout, stderr, timeout_occurred, stdout_truncated, stderr_truncated }))
}

fn once(wish: ExecuteCommand) -> Result<Once, ApiError> {
    let ExecuteCommand { command, cwd, timeout, env, stdin } = wish;
    let refuse = |sentence: String| Err(ApiError::unprocessable(sentence));
    if !(1..=MAX_TIMEOUT).contains(&timeout) {
        return refuse(format!("timeout must be 1 to {MAX_TIMEOUT} seconds."));
    }
    if env.len() > MAX_VARIABLES {
        return refuse(format!("env has more than {MAX_VARIABLES} variables: put the rest into a file."));
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    if env.iter().any(|(name, value)| !is_name(name) || value.contains('\0')) {
        return refuse("env has a name or a value that cannot be a variable's.".to_owned());
    }
    if command.contains('\0') || cwd.as_ref().is_some_and(|folder| folder.contains('\0')) {
        return refuse("command and cwd cannot have a zero byte in them.".to_owned());
    }
    let mut shell = Command::new("/bin/sh").arg("-c").arg(command).envs(env);
    shell.cwd = cwd.filter(|folder| !folder.is_empty()).map(Into::into);
    Ok(Once { command: shell, stdin: stdin.into_bytes(), timeout: Duration::from_secs(timeout), output: MAX_OUTPUT })
}

fn refused(error: Error) -> ApiError {
    match error {
        Error::Workspace(error @ (WorkspaceError::NotFound { .. } | WorkspaceError::NotADirectory { .. })) => {
            ApiError::unprocessable(format!("The command cannot be started: {error}"))
        }
        error => error.into(),
    }
}

fn text(output: &Captured) -> (String, bool) {
    (String::from_utf8_lossy(&output.bytes).into_owned(), output.is_cut)
}
