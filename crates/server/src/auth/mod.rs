//! Who asks (contract: server §2.1).
//!
//! A [`Principal`] comes only from an [`Authenticator`]. Handlers get it as an argument; the layer
//! [`require_principal`] stands before every route below `/api`, so that a handler that forgets the argument is no hole.

mod chain;
mod guard;
mod keys;
mod oidc;
mod principal;
mod stored;

use std::fmt;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
pub use chain::Chain;
pub(crate) use guard::{in_reach, principal, require_admin, require_principal};
pub use keys::StaticKeys;
pub use oidc::{ClaimValue, Oidc, OidcError, OidcOptions};
pub use principal::Principal;
pub use stored::{StoredKeys, new_key};

use crate::ApiError;

/// The owner of everything on a server with one user.
pub const SINGLE_USER: &str = "local";

/// Seconds after which it is worth to show a key again that could not be looked up.
const RETRY_SECONDS: u64 = 10;

/// Tells who asks by the key they show.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The principal of everybody, if nobody has to show a key.
    fn anybody(&self) -> Option<Principal> {
        None
    }

    /// Who shows this key.
    ///
    /// # Errors
    /// [`Denied`].
    async fn authenticate(&self, key: &str) -> Result<Principal, Denied>;

    /// Whether somebody who was let in would still be. Sockets, which are open for long, ask from time to time.
    async fn admits(&self, _principal: &Principal) -> bool {
        true
    }

    /// Stores what is kept in memory; called from time to time, and when the server stops.
    async fn flush(&self) {}

    /// Forgets what is remembered of keys, because users or keys have changed.
    fn forget(&self) {}
}

/// Why a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has this key.
    #[error("no such key")]
    Unknown,
    /// It was somebody's key and opens nothing any more; the sentence says why.
    #[error("{0}")]
    Ended(&'static str),
    /// Keys cannot be looked up now.
    #[error("keys cannot be looked up now: {0}")]
    Unavailable(String),
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::unauthorized(),
            Denied::Ended(why) => Self::new(StatusCode::UNAUTHORIZED, why),
            Denied::Unavailable(_) => {
                tracing::error!(error = &denied as &dyn std::error::Error, "a key cannot be looked up");
                let detail = "Keys cannot be looked up now. Retry after the seconds in the header Retry-After.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_SECONDS)
            }
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
