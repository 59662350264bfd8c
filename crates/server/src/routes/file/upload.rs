//! Files to the workspace.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use longshore_protocol::{error::ErrorBody, file::FileUploaded};
use longshore_workspace::{Error, Parents};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::refused;
use crate::{
    ApiError, Place,
    extract::{ApiQuery, Problem, RawPath},
    multipart::{Form, FormError},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(upload_file))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// An absolute path.
    #[param(inline)]
    path: RawPath,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "stands in the OpenAPI document only")]
struct UploadForm {
    /// The content.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Writes the part `file` of the form in `request`, which may have `most` bytes, to a file in `place`, as it arrives.
pub(crate) async fn upload(place: &Place, query: Query, most: u64, request: Request) -> Result<FileUploaded, ApiError> {
    let (parts, body) = request.into_parts();
    let mut form = Form::new(&parts.headers, body, most).map_err(unreadable)?;
    let received = receive(place, query, &mut form).await;
    if received.is_err() {
        // A client that is still sending would see a broken connection instead of the answer.
        form.drain().await;
    }
    received
}

async fn receive(place: &Place, query: Query, form: &mut Form) -> Result<FileUploaded, ApiError> {
    form.find_part("file").await.map_err(unreadable)?;
    let path = place.path(query.path.0).await?;
    let mut file = place.workspace.write(&path, Parents::Created).await.map_err(unwritable)?;
    let mut file_size = 0;
    while let Some(chunk) = form.chunk().await.map_err(unreadable)? {
        file.write(&chunk).await.map_err(unwritable)?;
        file_size += chunk.len() as u64;
    }
    file.finish().await.map_err(unwritable)?;
    Ok(FileUploaded { success: true, file_size })
}

fn unreadable(error: FormError) -> ApiError {
    match error {
        FormError::NoSuchPart => {
            let problem = Problem::missing("file").at(vec!["body".into()], Value::Null);
            ApiError::invalid(vec![problem])
        }
        FormError::TooSlow(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, error.to_string()).closing(),
        FormError::TooLarge(_) => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).closing(),
        FormError::Malformed(_) | FormError::Broken => ApiError::bad_request(error.to_string()).closing(),
    }
}

fn unwritable(error: Error) -> ApiError {
    match error {
        Error::IsADirectory { .. } => ApiError::bad_request("Path is a directory"),
        Error::NotADirectory { .. } => ApiError::bad_request("A parent of the path is not a directory"),
        Error::NotAFile { .. } => ApiError::bad_request("Path is not a regular file"),
        error => refused(error),
    }
}

/// Writes a file. Parent folders are made, an existing file is replaced when all has arrived.
#[utoipa::path(post, path = "/file/upload", tag = "Files", params(Query),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, body = FileUploaded),
        (status = 400, body = ErrorBody, description = "The path is relative, or a folder."),
        (status = 403, body = ErrorBody, description = "The system does not allow it."),
        (status = 507, body = ErrorBody, description = "The disk is full."),
    ))]
async fn upload_file(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
    request: Request,
) -> Result<Json<FileUploaded>, ApiError> {
    state.activity().touch();
    let uploaded = upload(&place, query, state.options().limits.upload_bytes, request).await.map(Json);
    state.activity().touch();
    uploaded
}
