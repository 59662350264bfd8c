//! What happens to every request before a route is looked for.

mod bounds;
mod cors;
mod host;
mod ids;
mod request_id;

use std::{any::Any, panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

pub(crate) use self::ids::note;
use crate::{ApiError, metrics, protect::Client, state::AppState};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id, answers what must not reach a route, catches panics and logs what happened.
pub(crate) async fn front(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id::of(&request);
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let method = request.method().clone();
    let path = request.uri().clone();
    let client = Client::of(&request, &state.options().trusted_proxies);
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    let route = metrics::route(&request);
    let span = ids::span(&id, &route, request.uri().path());
    // Probes come all day and lead to nothing.
    let tracer = state.options().tracer.as_deref().filter(|_| !is_probe(&route));
    if let Some(tracer) = tracer {
        tracer.received(&span, request.headers());
    }
    let measured = state.metrics().request(&method, route.clone());
    let mut response = answer(&state, request, next).instrument(span.clone()).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    measured.answered(response.status());
    if let Some(tracer) = tracer {
        tracer.answered(&span, &method, &route, response.status());
    }
    let _entered = span.enter();
    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_secs_f64() * 1000.0;
    // The query is left out: sockets are opened with the key in it.
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(
                http.method = method.as_str(),
                http.path = path.path(),
                http.status_code = status,
                client.address = client.map(|client| tracing::field::display(client.0)),
                duration_ms,
                "request"
            )
        };
    }
    if is_probe(&route) {
        log!(debug);
    } else {
        log!(info);
    }
    response
}

/// Whether a route is for those who watch the server.
fn is_probe(route: &str) -> bool {
    matches!(route, "/health" | "/alive" | "/ready" | "/metrics")
}

async fn answer(state: &AppState, request: Request, next: Next) -> Response {
    let origin = request.headers().get(axum::http::header::ORIGIN).cloned();
    if let Some(preflight) = cors::preflight(&state.options().cors, &request) {
        return preflight;
    }
    let checked = bounds::check(state, &request).and_then(|()| host::check(state, &request));
    let mut response = match checked {
        Ok(()) => AssertUnwindSafe(bounds::run(state, request, next))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| panicked(state, &*panic)),
        Err(refusal) => refusal.into_response(),
    };
    cors::mark(&state.options().cors, origin.as_ref(), response.headers_mut());
    response
}

fn panicked(state: &AppState, panic: &(dyn Any + Send)) -> Response {
    state.metrics().panicked();
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let id = Uuid::new_v4().simple().to_string();
    tracing::error!(panic = text.unwrap_or("unknown"), error.id = id, "a handler panicked");
    ApiError::failed("The server has a mistake in it; the log tells more", id).into_response()
}

/// The id of the request that is being answered, as a header.
pub(crate) type RequestId = HeaderValue;
