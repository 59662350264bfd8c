//! Files from the workspace.

use std::{
    fmt::Write as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            IF_RANGE, LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use longshore_protocol::error::ErrorBody;
use longshore_workspace::{Error, Metadata, Workspace};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::refused;
use crate::{
    ApiError, Place,
    extract::{ApiQuery, RawPath},
    routing::Routes,
    state::AppState,
};

/// How much is sent at once.
const CHUNK: usize = 256 << 10;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(download_file))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// An absolute path.
    #[param(inline)]
    path: RawPath,
}

/// The content of a file in `place`, or the part of it that `headers` ask for.
pub(crate) async fn download(place: &Place, query: Query, headers: &HeaderMap) -> Result<Response, ApiError> {
    let path = place.path(query.path.0).await?;
    content(&*place.workspace, &path, headers).await
}

/// The content of the file at `path`, or the part of it that `headers` ask for.
pub(crate) async fn content(workspace: &dyn Workspace, path: &Path, headers: &HeaderMap) -> Result<Response, ApiError> {
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
    // Where a range begins can depend on the length, so the file is looked at first if one is asked for.
    let known = match asked {
        Some(_) => Some(workspace.metadata(path).await.map_err(unreadable)?),
        None => None,
    };
    let part = match (asked, known) {
        (Some(asked), Some(metadata)) if is_still(headers, &metadata) => part(asked, metadata.len),
        _ => Part::Whole,
    };
    let offset = if let Part::Some { first, .. } = part { first } else { 0 };
    let (metadata, reader) = workspace.read(path, offset).await.map_err(unreadable)?;
    let mut response = ().into_response();
    describe(path, &metadata, response.headers_mut());
    if matches(headers, IF_NONE_MATCH, &metadata) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let len = match part {
        Part::Whole => metadata.len,
        Part::Some { first, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(response.headers_mut(), CONTENT_RANGE, &format!("bytes {first}-{last}/{}", metadata.len));
            last - first + 1
        }
        Part::None => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", metadata.len));
            return Ok(response);
        }
    };
    response.headers_mut().insert(CONTENT_LENGTH, len.into());
    *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(reader.take(len), CHUNK));
    Ok(response)
}

fn unreadable(error: Error) -> ApiError {
    match error {
        Error::NotFound { .. } | Error::NotADirectory { .. } => ApiError::not_found("File not found"),
        Error::IsADirectory { .. } | Error::NotAFile { .. } => ApiError::bad_request("Path is not a file"),
        error => refused(error),
    }
}

/// What is asked for of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Some {
        first: u64,
        last: u64,
    },
    /// A part that the file does not have.
    None,
}

/// The part that a `Range` header names. What is no range, and several ranges at once, mean the whole file.
fn part(asked: &str, len: u64) -> Part {
    let Some((first, last)) = asked.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    match (first.trim(), last.trim()) {
        ("", last) => match last.parse::<u64>() {
            Ok(0) => Part::None,
            Ok(_) if len == 0 => Part::None,
            Ok(count) => Part::Some { first: len.saturating_sub(count), last: len - 1 },
            Err(_) => Part::Whole,
        },
        (first, last) => {
            let last = if last.is_empty() { Ok(u64::MAX) } else { last.parse::<u64>() };
            match (first.parse::<u64>(), last) {
                (Ok(first), Ok(last)) if first > last => Part::Whole,
                (Ok(first), Ok(_)) if first >= len => Part::None,
                (Ok(first), Ok(last)) => Part::Some { first, last: last.min(len - 1) },
                _ => Part::Whole,
            }
        }
    }
}

/// Whether the file is the one of which the client has the rest, if it says so.
fn is_still(headers: &HeaderMap, metadata: &Metadata) -> bool {
    match headers.get(IF_RANGE) {
        None => true,
        Some(known) => {
            known.as_bytes() == etag(metadata).as_bytes() || known.as_bytes() == modified(metadata).as_bytes()
        }
    }
}

fn matches(headers: &HeaderMap, name: HeaderName, metadata: &Metadata) -> bool {
    let Some(known) = headers.get(name).and_then(|known| known.to_str().ok()) else { return false };
    let etag = etag(metadata);
    known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

fn describe(path: &Path, metadata: &Metadata, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set(headers, CONTENT_DISPOSITION, &disposition(path));
    set(headers, ETAG, &etag(metadata));
    set(headers, LAST_MODIFIED, &modified(metadata));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn etag(metadata: &Metadata) -> String {
    let since = metadata.modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("\"{:x}-{:x}\"", since.as_nanos(), metadata.len)
}

fn modified(metadata: &Metadata) -> String {
    let modified = metadata.modified.unwrap_or(SystemTime::UNIX_EPOCH);
    Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Says that the file is to be saved, under its own name.
fn disposition(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/');
    if name.iter().all(is_plain) {
        return format!("attachment; filename=\"{}\"", String::from_utf8_lossy(name));
    }
    let mut escaped = String::with_capacity(name.len() * 3);
    for byte in name {
        if is_plain(byte) {
            escaped.push(char::from(*byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    format!("attachment; filename*=utf-8''{escaped}")
}

/// The content of a file, or with a `Range` header a part of it.
#[utoipa::path(get, path = "/file/download", tag = "Files", params(Query), responses(
    (status = 200, content_type = "application/octet-stream", body = [u8]),
    (status = 206, content_type = "application/octet-stream", body = [u8], description = "A part of the file."),
    (status = 304, description = "The client has this content."),
    (status = 400, body = ErrorBody, description = "The path is relative, or no file."),
    (status = 403, body = ErrorBody, description = "The system does not allow it."),
    (status = 404, body = ErrorBody, description = "There is no such file."),
    (status = 416, description = "The file has no such part."),
))]
async fn download_file(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    state.activity().touch();
    download(&place, query, &headers).await
}

#[cfg(test)]
mod tests {
    use super::{Part, disposition, part};

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (asked, len, expected) in [
            ("bytes=0-3", 12, Part::Some { first: 0, last: 3 }),
            ("bytes=4-", 12, Part::Some { first: 4, last: 11 }),
            ("bytes=4-99", 12, Part::Some { first: 4, last: 11 }),
            ("bytes=-5", 12, Part::Some { first: 7, last: 11 }),
            ("bytes=-50", 12, Part::Some { first: 0, last: 11 }),
            ("bytes=12-", 12, Part::None),
            ("bytes=-0", 12, Part::None),
            ("bytes=0-", 0, Part::None),
            ("bytes=-1", 0, Part::None),
            ("bytes=5-4", 12, Part::Whole),
            ("bytes=0-1,3-4", 12, Part::Whole),
            ("lines=0-1", 12, Part::Whole),
            ("bytes=a-b", 12, Part::Whole),
        ] {
            assert_eq!(part(asked, len), expected, "{asked} of {len}");
        }
    }

    #[test]
    fn names_are_safe_in_a_header() {
        assert_eq!(disposition("/a/up.txt".as_ref()), "attachment; filename=\"up.txt\"");
        assert_eq!(disposition("/a/é \"x\"\r\n".as_ref()), "attachment; filename*=utf-8''%C3%A9%20%22x%22%0D%0A");
    }
}
