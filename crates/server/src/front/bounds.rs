//! Bounds of every request: how many come from an address, how long they are and how long they take.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header::STRICT_TRANSPORT_SECURITY},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;

use crate::{
    ApiError,
    protect::{Client, Paced},
    state::AppState,
};

/// For how long browsers call the server over TLS only, once they did: a year.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Whether the request may be looked at.
pub(super) fn check(state: &AppState, request: &Request) -> Result<(), ApiError> {
    let client = request.extensions().get::<Client>().copied();
    if let Some(client) = client
        && !state.trusts(Some(client))
    {
        state.protection().admit_address(client.0)?;
    }
    let most = state.options().limits.uri_bytes;
    if request.uri().path_and_query().is_some_and(|path| path.as_str().len() as u64 > most) {
        let detail = format!("The address is longer than {most} bytes, the most that this server takes");
        return Err(ApiError::new(StatusCode::URI_TOO_LONG, detail));
    }
    Ok(())
}

/// Lets routes answer, with bounds on how slowly the body comes and how long the answer takes.
pub(super) async fn run(state: &AppState, request: Request, next: Next) -> Response {
    let limits = &state.options().limits;
    let request = request.map(|body| Body::new(Paced::new(body, limits)));
    let seconds = limits.request_seconds;
    let answered = timeout(Duration::from_secs(seconds), next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let detail = format!("The request took longer than {seconds} seconds and was broken off");
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, detail).closing().into_response()
    });
    if state.options().tls.is_some() {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    response
}
