//! Protects a server without keys from pages in a browser on the same machine.
//!
//! Such a page can send requests to this machine, under its own origin, or under a name of its own that it lets point
//! here. So a server that asks for no key answers only if it is called by a name of this machine, and only to pages
//! that CORS allows.

use axum::{
    extract::Request,
    http::header::{HOST, ORIGIN},
};

use crate::{
    ApiError,
    options::{is_loopback, without_port},
    state::AppState,
};

pub(super) fn check(state: &AppState, request: &Request) -> Result<(), ApiError> {
    let path = request.uri().path();
    if is_harmless(path) {
        return Ok(());
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(without_port);
    let host = host.or_else(|| request.uri().host());
    let is_named = host.is_some_and(|host| state.options().allowed_hosts.iter().any(|allowed| matches(allowed, host)));
    let needs_key = state.authenticator().anybody().is_none();
    if needs_key && !is_named && !state.options().allowed_hosts.is_empty() {
        return Err(ApiError::forbidden(
            "This server does not answer to this name. The operator lists its names in allowed_hosts.",
        ));
    }
    if needs_key || state.options().any_host {
        return Ok(());
    }
    if !is_named && !host.is_some_and(|host| is_own(state, host)) {
        return Err(ApiError::forbidden(
            "This server asks for no key and therefore answers only as localhost. Set a session API key, or start it with --any-host.",
        ));
    }
    let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
    let is_allowed = origin.to_str().is_ok_and(|origin| {
        state.options().cors.allows(origin)
            || origin.split_once("://").is_some_and(|(_, authority)| {
                is_loopback(without_port(authority)) || Some(without_port(authority)) == host
            })
    });
    if is_allowed {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "This server asks for no key and therefore answers no pages of other sites. Set a session API key, or allow the \
         page's origin.",
    ))
}

/// Whether a host is `allowed`, or below the domain in `*.domain`.
fn matches(allowed: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match allowed.strip_prefix("*.") {
        Some(domain) => host
            .len()
            .checked_sub(domain.len() + 1)
            .and_then(|dot| host.get(dot..))
            .is_some_and(|end| end.starts_with('.') && end[1..].eq_ignore_ascii_case(domain)),
        None => host.eq_ignore_ascii_case(allowed),
    }
}

/// Probes call a server by whatever address it has, and learn nothing.
fn is_harmless(path: &str) -> bool {
    matches!(path, "/health" | "/alive" | "/ready")
}

/// Whether `host` is a name of this machine that no page can take: a loopback name, or the address the server listens
/// on. An address in figures cannot be made to point elsewhere, so any will do for a server that listens on all.
fn is_own(state: &AppState, host: &str) -> bool {
    is_loopback(host)
        || host.parse().is_ok_and(|address: std::net::IpAddr| {
            state.bound().is_some_and(|bound| bound.ip().is_unspecified() || bound.ip() == address)
        })
}
