//! Who opens a socket (contract: server §2.3).
//!
//! A key in the query or in a header decides before the socket opens: a wrong one gets a 403. Without one the socket
//! opens and the first message must be `{"type": "auth", "session_api_key": …}`.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, StatusCode, request::Parts},
};
use longshore_protocol::account::Scope;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::connection::{Connection, close};
use crate::{
    ApiError, Principal,
    accept::Seat,
    audit::Trail,
    auth::{Denied, key_in},
    front::note,
    protect::{Client, Refused, authenticate},
    state::AppState,
};

/// How long a client may take to send its first message.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a request to open a socket brings besides its path and its query.
pub(crate) struct Caller {
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// Where it comes from.
    pub(crate) client: Option<Client>,
    /// What the connection takes of the room for all.
    pub(crate) seat: Option<Seat>,
    /// What the audit log is told.
    pub(crate) trail: Trail,
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self {
            headers: parts.headers.clone(),
            client: parts.extensions.get().copied(),
            seat: parts.extensions.get().cloned(),
            trail: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// How far an admission is before the socket opens.
pub(crate) enum Admission {
    /// The key was good, or none is needed.
    Granted(Principal),
    /// The first message must have a key.
    Pending(Option<Client>),
}

impl Admission {
    /// Judges the key in the query, else in the headers.
    ///
    /// # Errors
    /// 403 for a wrong key, 429 if there were too many.
    pub(crate) async fn before_upgrade(
        state: &AppState,
        caller: &Caller,
        key_in_query: Option<&str>,
    ) -> Result<Self, ApiError> {
        if let Some(anybody) = state.authenticator().anybody() {
            note(&anybody);
            return Ok(Self::Granted(anybody));
        }
        let Some(key) = key_in_query.filter(|key| !key.is_empty()).or_else(|| key_in(&caller.headers)) else {
            return Ok(Self::Pending(caller.client));
        };
        match authenticate(state, caller.client, key).await {
            Ok(principal) => {
                note(&principal);
                principal.require(Scope::Read)?;
                state.protection().admit_user(principal.user(), &Method::GET)?;
                Ok(Self::Granted(principal))
            }
            Err(Refused::Denied(Denied::Unknown)) => Err(ApiError::new(StatusCode::FORBIDDEN, "Forbidden")),
            Err(Refused::Denied(Denied::Ended(why))) => Err(ApiError::forbidden(why)),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Waits for the first message if one is needed. Closes the connection and gives none if it has no good key.
    pub(crate) async fn complete(self, state: &AppState, connection: &mut Connection) -> Option<Principal> {
        let principal = match self {
            Self::Granted(principal) => principal,
            Self::Pending(client) => match timeout(PATIENCE, connection.receive()).await {
                Ok(None) => return None,
                Ok(Some(text)) => match key_in_frame(&text) {
                    Some(key) => match authenticate(state, client, &key).await {
                        Ok(principal) if !principal.has(Scope::Read) => return refuse(connection, FAILED).await,
                        Ok(principal) if state.protection().admit_user(principal.user(), &Method::GET).is_ok() => {
                            principal
                        }
                        Ok(_) | Err(Refused::TooMany(_)) => return refuse(connection, TOO_MANY).await,
                        Err(Refused::Denied(_)) => return refuse(connection, FAILED).await,
                    },
                    None => return refuse(connection, FAILED).await,
                },
                Err(_) => return refuse(connection, FAILED).await,
            },
        };
        note(&principal);
        if !connection.count_for(&principal) {
            return refuse(connection, (close::TRY_LATER, "Too many sockets of this user")).await;
        }
        Some(principal)
    }
}

const FAILED: (u16, &str) = (close::UNAUTHENTICATED, "Authentication failed");
const TOO_MANY: (u16, &str) = (close::TRY_LATER, "Too many requests");

async fn refuse(connection: &mut Connection, (code, reason): (u16, &'static str)) -> Option<Principal> {
    connection.close(code, reason).await;
    None
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
