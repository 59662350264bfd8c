//! Which request it is, in logs and for the client.

use axum::{extract::Request, http::HeaderValue};
use uuid::Uuid;

use super::{RequestId, X_REQUEST_ID};

const LONGEST: usize = 128;

/// The id that the client gave, or a new one if it gave none or one that would disturb a log.
pub(super) fn of(request: &Request) -> RequestId {
    match request.headers().get(X_REQUEST_ID) {
        Some(id) if is_plain(id.as_bytes()) => id.clone(),
        _ => new_id(),
    }
}

fn is_plain(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/'))
}

fn new_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    let text: &str = Uuid::new_v4().simple().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
