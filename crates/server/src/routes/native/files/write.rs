//! Files and folders, to make.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_LENGTH},
};
use futures::StreamExt as _;
use longshore_protocol::error::ErrorBody;
use longshore_workspace::{Command, Error, Parents, Workspace};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use super::path::InFolder;
use crate::{ApiError, extract::ApiQuery, respond::Json, routes::file::refused, routing::Routes, state::AppState};

/// How long the next piece may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How much, and how long, is read of a file that nobody wants any more.
const DRAINED: usize = 1 << 30;
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(put_file))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WriteQuery {
    /// The mode of the file in octal digits, such as `0755`; without it, that of the file that was there, or the usual one.
    #[serde(default)]
    #[param(pattern = "^0?[0-7]{3}$")]
    mode: Option<String>,
}

/// What was written.
#[derive(Debug, Serialize, ToSchema)]
struct WrittenFile {
    /// Its path below the workspace's folder.
    path: String,
    /// Bytes; none of a folder.
    size: Option<u64>,
}

/// Writes the body to a file, which takes its place when all has arrived; parent folders are made. A path with a slash at
/// its end makes a folder.
#[utoipa::path(put, path = "/workspaces/{workspace_id}/files/{path}", tag = "Workspace files",
    params(("workspace_id" = Uuid, Path), ("path" = String, Path), WriteQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = WrittenFile, description = "It is new."),
        (status = 200, body = WrittenFile, description = "It took the place of what was there."),
        (status = 400, body = ErrorBody, description = "It cannot be written; the detail says why."),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "A folder is in the way, or the workspace cannot be used."),
        (status = 507, body = ErrorBody, description = "The disk is full."),
    ))]
async fn put_file(
    State(state): State<AppState>,
    file: InFolder,
    ApiQuery(query): ApiQuery<WriteQuery>,
    request: Request,
) -> Result<(StatusCode, Json<WrittenFile>), ApiError> {
    let mode = query.mode.map(checked_mode).transpose()?;
    let path = file.real().await?;
    let status = match file.workspace().metadata(&path).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::CREATED,
    };
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut content = Content::new(request.into_body(), announced, state.options().limits.upload_bytes);
    let size = if file.is_folder || file.relative.as_os_str().is_empty() {
        content.expect_none().await?;
        file.workspace().create_dir(&path).await.map_err(unwritable)?;
        None
    } else {
        let written = match mode {
            None => write(&**file.workspace(), &path, &mut content).await,
            Some(mode) => write_with_mode(&**file.workspace(), &path, &mode, &mut content).await,
        };
        if written.is_err() {
            // A client that is still sending would see a broken connection instead of the answer.
            content.drain().await;
        }
        Some(written?)
    };
    state.activity().touch();
    Ok((status, Json(WrittenFile { path: file.relative.to_string_lossy().into_owned(), size })))
}

fn checked_mode(mode: String) -> Result<String, ApiError> {
    let digits = mode.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(&mode);
    if digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
        return Ok(mode);
    }
    Err(ApiError::unprocessable("mode must be three octal digits, such as 0755."))
}

async fn write(workspace: &dyn Workspace, path: &Path, content: &mut Content) -> Result<u64, ApiError> {
    content.check_announced()?;
    let mut file = workspace.write(path, Parents::Created).await.map_err(unwritable)?;
    while let Some(chunk) = content.next().await? {
        file.write(&chunk).await.map_err(unwritable)?;
    }
    file.finish().await.map_err(unwritable)?;
    Ok(content.received)
}

/// Writes beside the place, so that nobody sees the file with another mode.
async fn write_with_mode(
    workspace: &dyn Workspace,
    path: &Path,
    mode: &str,
    content: &mut Content,
) -> Result<u64, ApiError> {
    let beside = beside(path);
    let written = async {
        let size = write(workspace, &beside, content).await?;
        change_mode(workspace, &beside, mode).await?;
        workspace.rename(&beside, path).await.map_err(unwritable)?;
        Ok(size)
    };
    let written = written.await;
    if written.is_err() {
        let _ = workspace.remove(&beside).await;
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".longshore-{}", Uuid::new_v4().simple()))
}

async fn change_mode(workspace: &dyn Workspace, path: &Path, mode: &str) -> Result<(), ApiError> {
    let refuse = |reason: String| ApiError::conflict(format!("The mode cannot be set: {reason}"));
    let chmod = Command::new("chmod").arg(mode).arg(path);
    let mut process = workspace.spawn(chmod).await.map_err(|error| refuse(error.to_string()))?;
    match process.control.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(refuse(format!("chmod ended with {status}"))),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn unwritable(error: Error) -> ApiError {
    match error {
        Error::IsADirectory { .. } => ApiError::conflict("A folder is there: remove it first, or choose another path."),
        Error::NotADirectory { .. } => ApiError::conflict("A file is in the way: a folder cannot be made there."),
        error => refused(error),
    }
}

/// The body of a request as it arrives.
struct Content {
    body: BodyDataStream,
    announced: Option<u64>,
    limit: u64,
    received: u64,
}

impl Content {
    fn new(body: Body, announced: Option<u64>, limit: u64) -> Self {
        Self { body: body.into_data_stream(), announced, limit, received: 0 }
    }

    fn check_announced(&self) -> Result<(), ApiError> {
        if self.announced.is_some_and(|length| length > self.limit) { Err(self.too_large()) } else { Ok(()) }
    }

    /// Nothing if the body is empty.
    async fn expect_none(&mut self) -> Result<(), ApiError> {
        if self.next().await?.is_none() {
            return Ok(());
        }
        self.drain().await;
        Err(ApiError::unprocessable("A path with a slash at its end is a folder, which has no body.").closing())
    }

    async fn next(&mut self) -> Result<Option<axum::body::Bytes>, ApiError> {
        let next = timeout(PATIENCE, self.body.next()).await.map_err(|_| {
            let sentence = format!("Nothing arrived for {} seconds while the file was read.", PATIENCE.as_secs());
            ApiError::new(StatusCode::REQUEST_TIMEOUT, sentence).closing()
        })?;
        let Some(chunk) = next else { return Ok(None) };
        let chunk = chunk.map_err(|_| {
            ApiError::bad_request("The connection broke while the file was read; nothing was written.").closing()
        })?;
        self.received += chunk.len() as u64;
        if self.received > self.limit { Err(self.too_large()) } else { Ok(Some(chunk)) }
    }

    fn too_large(&self) -> ApiError {
        let sentence = format!("The file is larger than {} bytes, the most that this server takes.", self.limit);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, sentence).closing()
    }

    /// Reads on for a while, for the sake of the client.
    async fn drain(&mut self) {
        let _ = timeout(DRAIN_PATIENCE, async {
            let mut drained = 0;
            while let Some(Ok(chunk)) = self.body.next().await {
                drained += chunk.len();
                if drained > DRAINED {
                    break;
                }
            }
        })
        .await;
    }
}
