//! Who may read the metrics.

use std::net::SocketAddr;

use axum::{
    extract::ConnectInfo,
    http::{
        HeaderMap,
        header::{FORWARDED, HOST, VIA},
        request::Parts,
    },
};
use longshore_protocol::{Secret, account::Scope};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    ApiError,
    auth::key_in,
    front::note,
    options::{is_loopback, without_port},
    state::AppState,
};

/// Headers that a proxy adds: whoever asks may be anywhere.
const PROXIED: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Who may read the metrics, besides administrators and programs on this machine.
#[derive(Debug, Clone, Default)]
pub struct MetricsAccess {
    /// A token to be shown as `Authorization: Bearer`. Blank is none.
    pub token: Option<Secret>,
    /// Whether everybody may.
    pub public: bool,
}

/// Lets whoever may through.
///
/// # Errors
/// 401 without a key, 403 with that of somebody else, and 500 if keys cannot be looked up now.
pub(crate) async fn check(state: &AppState, request: &Parts) -> Result<(), ApiError> {
    let MetricsAccess { token, public } = &state.options().metrics;
    if *public || is_local(request) {
        return Ok(());
    }
    let shown = key_in(&request.headers);
    let token = token.as_ref().map(Secret::expose).filter(|token| !token.trim().is_empty());
    if token.zip(shown).is_some_and(|(token, shown)| is_same(token, shown)) {
        return Ok(());
    }
    let principal = match (state.authenticator().anybody(), shown) {
        (Some(anybody), _) => anybody,
        (None, Some(key)) => state.authenticator().authenticate(key).await?,
        (None, None) => return Err(ApiError::unauthorized()),
    };
    note(&principal);
    principal.require(Scope::Admin)
}

/// Whether a program on this machine asks for itself: not a proxy for somebody else, and not a page in a browser that gave
/// this machine a name of its own.
fn is_local(request: &Parts) -> bool {
    let client = request.extensions.get::<ConnectInfo<SocketAddr>>();
    client.is_some_and(|client| client.0.ip().to_canonical().is_loopback())
        && !is_proxied(&request.headers)
        && request.headers.get(HOST).and_then(|host| host.to_str().ok()).map(without_port).is_some_and(is_loopback)
}

fn is_proxied(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        || headers.contains_key(VIA)
        || PROXIED.iter().any(|name| headers.contains_key(*name))
}

/// Takes equal time for every length.
fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}
