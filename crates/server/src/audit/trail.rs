//! What the audit log is told about the request that is being answered.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, StatusCode, request::Parts},
};
use jiff::Timestamp;
use longshore_protocol::{ConversationId, UtcTime};
use longshore_store::AuditEntry;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::names;
use crate::{Principal, protect::Client, state::AppState};

/// Bytes of a command's text that are logged if the operator wants it.
const MAX_COMMAND: usize = 1024;

/// What the audit log is told about the request that is being answered, or about the socket that it opened: handlers add what
/// the path does not say. Nothing that is told may be a secret.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    client: Option<IpAddr>,
    request: Option<String>,
    told: Mutex<Told>,
}

/// What else is to be known, by name.
pub(crate) type Details = Vec<(&'static str, Value)>;

/// What handlers told.
#[derive(Debug, Clone, Default)]
struct Told {
    principal: Option<Principal>,
    target: Option<(&'static str, String)>,
    owner: Option<String>,
    details: Details,
}

impl Trail {
    pub(super) fn of(request: &Request) -> Self {
        Self(Arc::new(Inner {
            client: request.extensions().get::<Client>().map(|client| client.0),
            request: request_id(request.headers()),
            told: Mutex::default(),
        }))
    }

    /// Who asks.
    pub(crate) fn by(&self, principal: &Principal) {
        self.0.told.lock().principal = Some(principal.clone());
    }

    /// What it is about, if the path does not say it.
    pub(crate) fn about(&self, kind: &'static str, id: impl Into<String>) {
        self.0.told.lock().target = Some((kind, id.into()));
    }

    /// Whose thing it is, if not of whoever asks.
    pub(crate) fn of_user(&self, name: impl Into<String>) {
        self.0.told.lock().owner = Some(name.into());
    }

    /// Something else to be known.
    pub(crate) fn detail(&self, name: &'static str, value: impl Into<Value>) {
        self.0.told.lock().details.push((name, value.into()));
    }

    /// A command that is to be executed: its hash and length, and its text only if the operator wants that.
    pub(crate) fn command(&self, command: &str, state: &AppState) {
        let details = described(command, state);
        self.0.told.lock().details.extend(details);
    }

    /// A socket was opened.
    pub(crate) async fn opened(&self, state: &AppState, principal: &Principal, id: Option<ConversationId>) {
        self.by(principal);
        self.tell(state, names::SOCKET, id, None, Details::new()).await;
    }

    /// Nobody knows who opened a socket.
    pub(crate) async fn refused(&self, state: &AppState) {
        if state.audit().admit_refusal(self.client()) {
            self.tell(state, names::REFUSED, None, None, Details::new()).await;
        }
    }

    /// A command came through the socket: what [`described`] says of it, and how that went.
    pub(crate) async fn commanded(&self, state: &AppState, command: Details, status: StatusCode) {
        self.tell(state, names::EXECUTE, None, Some(status), command).await;
    }

    /// A message to an agent came through the socket.
    pub(crate) async fn messaged(&self, state: &AppState, id: ConversationId, status: StatusCode) {
        self.tell(state, names::MESSAGE, Some(id), Some(status), Details::new()).await;
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    pub(super) fn principal(&self) -> Option<Principal> {
        self.0.told.lock().principal.clone()
    }

    /// A record of what was told.
    pub(super) fn entry(&self, action: &str) -> AuditEntry {
        let told = self.0.told.lock().clone();
        let mut entry = AuditEntry::new(UtcTime(Timestamp::now()), action);
        entry.address = self.0.client.map(|client| client.to_string());
        entry.request.clone_from(&self.0.request);
        if let Some(principal) = told.principal {
            let user = principal.user().0.to_string();
            entry.owner = Some(user.clone());
            entry.actor = Some(user);
            entry.key = principal.key_id().map(str::to_owned);
        }
        if let Some((kind, id)) = told.target {
            (entry.target_kind, entry.target) = (Some(kind.to_owned()), Some(id));
        }
        entry.owner = told.owner.or(entry.owner);
        entry.details.extend(told.details.into_iter().map(|(name, value)| (name.to_owned(), value)));
        entry
    }

    async fn tell(
        &self,
        state: &AppState,
        action: &str,
        id: Option<ConversationId>,
        status: Option<StatusCode>,
        details: Details,
    ) {
        let mut entry = self.entry(action);
        if let Some(id) = id {
            (entry.target_kind, entry.target) = (Some("conversation".to_owned()), Some(id.to_string()));
        }
        entry.details.extend(details.into_iter().map(|(name, value)| (name.to_owned(), value)));
        entry.status = status.map(|status| status.as_u16());
        entry.details.insert("socket".to_owned(), Value::Bool(true));
        state.audit().record(entry).await;
    }
}

impl FromRequestParts<AppState> for Trail {
    type Rejection = Infallible;

    /// Without a log, or on a route that is not logged, it leads nowhere.
    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    headers.get("x-request-id")?.to_str().ok().map(str::to_owned)
}

/// A command's hash and length, and its text only if the operator wants that.
pub(crate) fn described(command: &str, state: &AppState) -> Details {
    let hash = Sha256::digest(command.as_bytes()).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let mut details = vec![("command_sha256", hash.into()), ("command_bytes", command.len().into())];
    if state.options().audit.commands {
        details.push(("command", command[..command.floor_char_boundary(MAX_COMMAND)].into()));
    }
    details
}
