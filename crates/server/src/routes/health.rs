//! Probes (contract: server §1.4). They say nothing that must be kept from anybody, and cost next to nothing. Official clients
//! look at the status alone, so `/health` may say more than theirs.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use longshore_protocol::{
    error::ErrorBody,
    server::{ServerHealth, ServerStatus},
};
use utoipa_axum::routes;

use crate::{ApiError, respond::Json, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(alive)).route(|| routes!(health)).route(|| routes!(ready))
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/alive", tag = "Server", responses((status = 200, body = ServerStatus)))]
async fn alive() -> Response {
    fixed(br#"{"status":"ok"}"#)
}

/// Whether the server and what it needs are well. Costs next to nothing: what is told is up to a second old.
#[utoipa::path(get, path = "/health", tag = "Server", responses(
    (status = 200, body = ServerHealth),
    (status = 503, body = ServerHealth, description = "The store, or what makes the boxes, is down."),
))]
async fn health(State(state): State<AppState>) -> Response {
    let report = state.health().report().await;
    let docker = report.engines.iter().find(|(name, _)| *name == "docker");
    let is_well = report.trouble().is_none();
    let body = ServerHealth {
        status: if is_well { "ok" } else { "down" }.to_owned(),
        store: if report.store.is_none() { "ok" } else { "down" }.to_owned(),
        docker: docker.map_or("unused", |(_, trouble)| if trouble.is_none() { "connected" } else { "down" }).to_owned(),
        workspaces: report.boxes,
        uptime: state.activity().uptime().as_secs(),
    };
    let mut response = Json(body).into_response();
    if !is_well {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Whether the server takes requests. It listens only once it does.
#[utoipa::path(get, path = "/ready", tag = "Server", responses(
    (status = 200, body = ServerStatus),
    (status = 503, body = ErrorBody, description = "The audit log cannot be written."),
))]
async fn ready(State(state): State<AppState>) -> Result<Response, ApiError> {
    if state.audit().is_well() {
        return Ok(fixed(br#"{"status":"ready"}"#));
    }
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "The audit log cannot be written; the server's log says why."))
}

fn fixed(json: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(Bytes::from_static(json)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
