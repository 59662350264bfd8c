//! `/metrics`: measurements for Prometheus.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE, request::Parts},
    response::Response,
};
use longshore_protocol::error::ErrorBody;
use tokio::task::spawn_blocking;
use utoipa_axum::routes;

use crate::{ApiError, metrics, routing::Routes, state::AppState};

const OPENMETRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(metrics))
}

/// Measurements in the text form of Prometheus, for administrators, programs on the same machine, and whoever the operator
/// gave the token for it.
#[utoipa::path(get, path = "/metrics", tag = "Server", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
    (status = 401, body = ErrorBody, description = "No key, or one that nobody has."),
    (status = 403, body = ErrorBody, description = "The key is no admin's."),
), security(("APIKeyHeader" = []), ("Bearer" = [])))]
async fn metrics(State(state): State<AppState>, request: Parts) -> Result<Response, ApiError> {
    metrics::check(&state, &request).await?;
    let page = spawn_blocking(move || state.exposition().text()).await;
    let text = page.map_err(|error| ApiError::internal("The metrics cannot be gathered", &error))?;
    let text = text.map_err(|error| ApiError::internal("The metrics cannot be written", &error))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
    Ok(response)
}
