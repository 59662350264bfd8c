//! The documentation page and the document that it shows.

use axum::{
    Router,
    extract::State,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::state::AppState;

/// One page without anything from elsewhere: it reads `openapi.json` beside it.
const PAGE: &str = include_str!("docs.html");

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/openapi.json", get(document)).route("/docs", get(page)).route("/redoc", get(page))
}

async fn document(State(state): State<AppState>) -> Response {
    ([(CONTENT_TYPE, "application/json")], state.openapi()).into_response()
}

async fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], PAGE).into_response()
}
