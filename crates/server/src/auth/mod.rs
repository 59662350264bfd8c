//! Who asks (contract: server §2.1).
//!
//! A [`Principal`] comes only from an [`Authenticator`]. Handlers get it as an argument; the layer
//! [`require_principal`] stands before every route below `/api`, so that a handler that forgets the argument is no hole.

mod keys;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::Response,
};
pub use keys::StaticKeys;
use longshore_store::Owner;

use crate::{ApiError, state::AppState};

/// The owner of everything on a server with one user.
pub const SINGLE_USER: &str = "local";

/// Somebody who may use the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    user: Owner,
}

impl Principal {
    /// The user of this name. Only authenticators make one.
    pub fn new(user: impl Into<Arc<str>>) -> Self {
        Self { user: Owner(user.into()) }
    }

    /// Whose rows this principal may reach.
    pub fn user(&self) -> &Owner {
        &self.user
    }
}

/// Tells who asks by the key they show.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The principal of everybody, if nobody has to show a key.
    fn anybody(&self) -> Option<Principal>;

    /// Who shows this key.
    ///
    /// # Errors
    /// [`Denied`].
    async fn authenticate(&self, key: &str) -> Result<Principal, Denied>;
}

/// Why a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has this key.
    #[error("no such key")]
    Unknown,
    /// Keys cannot be looked up now.
    #[error("keys cannot be looked up now: {0}")]
    Unavailable(String),
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::unauthorized(),
            Denied::Unavailable(_) => Self::internal("Keys cannot be looked up now", &denied),
        }
    }
}

/// The key in `X-Session-API-Key`, else in `Authorization: Bearer`.
pub(crate) fn key_in(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-session-api-key") {
        return key.to_str().ok();
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Lets a request through only if it has a principal, before anything of its body is read.
pub(crate) async fn require_principal(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = if let Some(anybody) = state.authenticator().anybody() {
        anybody
    } else {
        let key = key_in(request.headers()).ok_or_else(ApiError::unauthorized)?;
        state.authenticator().authenticate(key).await?
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

impl FromRequestParts<AppState> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or_else(ApiError::unauthorized)
    }
}
