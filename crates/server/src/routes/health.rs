//! Probes (contract: server §1.4). They say nothing that must be kept from anybody, and cost next to nothing.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use longshore_protocol::server::ServerStatus;
use utoipa_axum::routes;

use crate::routing::Routes;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(alive)).route(|| routes!(health)).route(|| routes!(ready))
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/alive", tag = "Server", responses((status = 200, body = ServerStatus)))]
async fn alive() -> Response {
    fixed(br#"{"status":"ok"}"#)
}

/// Whether the server is well.
#[utoipa::path(get, path = "/health", tag = "Server", responses((status = 200, body = ServerStatus)))]
async fn health() -> Response {
    fixed(br#"{"status":"ok"}"#)
}

/// Whether the server takes requests. It listens only once it does.
#[utoipa::path(get, path = "/ready", tag = "Server", responses((status = 200, body = ServerStatus)))]
async fn ready() -> Response {
    fixed(br#"{"status":"ready"}"#)
}

fn fixed(json: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(Bytes::from_static(json)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
