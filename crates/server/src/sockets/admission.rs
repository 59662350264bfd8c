//! Who opens a socket (contract: server §2.3).
//!
//! A key in the query or in a header decides before the socket opens: a wrong one gets a 403. Without one the socket
//! opens and the first message must be `{"type": "auth", "session_api_key": …}`.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use longshore_protocol::account::Scope;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::connection::{Connection, close};
use crate::{
    ApiError, Principal,
    auth::{Denied, key_in},
    front::note,
    state::AppState,
};

/// How long a client may take to send its first message.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far an admission is before the socket opens.
pub(crate) enum Admission {
    /// The key was good, or none is needed.
    Granted(Principal),
    /// The first message must have a key.
    Pending,
}

impl Admission {
    /// Judges the key in the query, else in the headers.
    ///
    /// # Errors
    /// 403 for a wrong key.
    pub(crate) async fn before_upgrade(
        state: &AppState,
        headers: &HeaderMap,
        key_in_query: Option<&str>,
    ) -> Result<Self, ApiError> {
        if let Some(anybody) = state.authenticator().anybody() {
            note(&anybody);
            return Ok(Self::Granted(anybody));
        }
        let Some(key) = key_in_query.filter(|key| !key.is_empty()).or_else(|| key_in(headers)) else {
            return Ok(Self::Pending);
        };
        match state.authenticator().authenticate(key).await {
            Ok(principal) => {
                note(&principal);
                principal.require(Scope::Read)?;
                Ok(Self::Granted(principal))
            }
            Err(Denied::Unknown) => Err(ApiError::new(StatusCode::FORBIDDEN, "Forbidden")),
            Err(Denied::Ended(why)) => Err(ApiError::forbidden(why)),
            Err(denied @ Denied::Unavailable(_)) => Err(denied.into()),
        }
    }

    /// Waits for the first message if one is needed. Closes the connection and gives none if it has no good key.
    pub(crate) async fn complete(self, state: &AppState, connection: &mut Connection) -> Option<Principal> {
        let principal = match self {
            Self::Granted(principal) => return Some(principal),
            Self::Pending => match timeout(PATIENCE, connection.receive()).await {
                Ok(None) => return None,
                Ok(Some(text)) => match key_in_frame(&text) {
                    Some(key) => {
                        let principal = state.authenticator().authenticate(&key).await.ok();
                        principal.filter(|principal| principal.has(Scope::Read))
                    }
                    None => None,
                },
                Err(_) => None,
            },
        };
        if let Some(principal) = &principal {
            note(principal);
        } else {
            connection.close(close::UNAUTHENTICATED, "Authentication failed").await;
        }
        principal
    }
}

/// Whether a message is an authentication that comes late; such a message means nothing.
pub(crate) fn is_late_authentication(text: &str) -> bool {
    let Ok(Value::Object(frame)) = serde_json::from_str(text) else { return false };
    frame.get("type").and_then(Value::as_str) == Some("auth")
        && frame.keys().all(|key| matches!(key.as_str(), "type" | "session_api_key"))
}

fn key_in_frame(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Frame {
        r#type: String,
        session_api_key: String,
    }
    let frame: Frame = serde_json::from_str(text).ok()?;
    (frame.r#type == "auth").then_some(frame.session_api_key)
}
