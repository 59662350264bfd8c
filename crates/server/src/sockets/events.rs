//! `/sockets/events/{id}`: what happens in a conversation, and messages to its agent (contract: server §5.1).

use std::sync::Arc;

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::StatusCode,
    response::Response,
};
use longshore_engine::{Clock, Error, Replay, Subscription};
use longshore_protocol::{
    ConversationId, Event, Source, account::Scope, conversation::SendMessage, event::ServerErrorEvent,
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    NEEDS_WRITE,
    admission::{Admission, Caller, is_late_authentication},
    connection::{Connection, Gone, close, open},
    mistake,
};
use crate::{
    ApiError, Principal,
    audit::{Trail, UNWRITTEN},
    auth::in_reach,
    extract::{ApiPath, ApiQuery, WallTime},
    state::AppState,
};

/// The largest frame that the official Python client takes: it breaks the connection at a larger one, for ever again.
const LARGEST_FRAME: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    session_api_key: Option<String>,
    #[serde(default)]
    resend_mode: Option<ResendMode>,
    #[serde(default)]
    after_timestamp: Option<WallTime>,
    /// An old name of `resend_mode=all`.
    #[serde(default)]
    resend_all: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ResendMode {
    All,
    Since,
}

impl Query {
    fn replay(&self) -> Replay {
        match (self.resend_mode, &self.after_timestamp) {
            (Some(ResendMode::All), _) => Replay::All,
            (Some(ResendMode::Since), Some(time)) => Replay::Since(time.0),
            (None, _) if self.resend_all => Replay::All,
            (Some(ResendMode::Since) | None, _) => Replay::Nothing,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Id {
    conversation_id: ConversationId,
}

pub(super) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    path: Result<ApiPath<Id>, ApiError>,
    query: Result<ApiQuery<Query>, ApiError>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "This address speaks WebSocket only. Open it with a WebSocket client.",
        )
    })?;
    let ApiPath(path) = path.map_err(|_| ApiError::forbidden("The conversation's id is not a UUID"))?;
    let ApiQuery(query) = query.map_err(|_| {
        ApiError::forbidden(
            "resend_mode must be 'all' or 'since', and after_timestamp a time such as 2026-11-20T04:16:46",
        )
    })?;
    let admission = Admission::before_upgrade(&state, &caller, query.session_api_key.as_deref()).await?;
    Ok(open(upgrade, &state.clone(), async move |socket| {
        let Caller { seat, trail, .. } = caller;
        let mut connection = Connection::new(socket, seat, &state);
        let Some(principal) = admission.complete(&state, &mut connection).await else {
            return trail.refused(&state).await;
        };
        let id = path.conversation_id;
        trail.opened(&state, &principal, Some(id)).await;
        if let Err(error) = in_reach(&state, &principal, id).await {
            // A client stops for good at the first, and comes back after the second.
            let (code, words) = if error.status().is_client_error() {
                (close::NOT_FOUND, "Conversation not found")
            } else {
                (close::TRY_LATER, "The conversation cannot be read now")
            };
            return connection.close(code, words).await;
        }
        match state.engine().subscribe(principal.user(), id, query.replay()).await {
            Ok(subscription) => {
                let _ = serve(&state, &trail, &principal, id, &mut connection, subscription).await;
            }
            Err(Error::NotFound(_)) => connection.close(close::NOT_FOUND, "Conversation not found").await,
            Err(error) => {
                tracing::error!(conversation.id = %id, error = &error as &dyn std::error::Error, "a conversation cannot be followed");
                connection.close(close::TRY_LATER, "The conversation cannot be read now").await;
            }
        }
    }))
}

async fn serve(
    state: &AppState,
    trail: &Trail,
    principal: &Principal,
    id: ConversationId,
    connection: &mut Connection,
    mut subscription: Subscription,
) -> Result<(), Gone> {
    loop {
        tokio::select! {
            event = subscription.next() => match event {
                Ok(event) => send(id, connection, event).await?,
                Err(reason) => {
                    connection.close_after(reason).await;
                    return Err(Gone);
                }
            },
            text = connection.receive() => match text {
                Some(text) if is_late_authentication(&text) => {}
                Some(text) => take(state, trail, principal, id, connection, text.as_bytes()).await?,
                None => return Err(Gone),
            },
        }
    }
}

async fn send(id: ConversationId, connection: &mut Connection, event: Arc<str>) -> Result<(), Gone> {
    if event.len() >= LARGEST_FRAME {
        // The client finds it in the search, which it does after each run and each new connection.
        tracing::warn!(conversation.id = %id, event.bytes = event.len(), "an event is too large for the socket");
        return Ok(());
    }
    connection.send(event.as_bytes().to_vec().into()).await
}

/// Gives a message to the agent, or tells this client what is wrong with it.
async fn take(
    state: &AppState,
    trail: &Trail,
    principal: &Principal,
    id: ConversationId,
    connection: &mut Connection,
    text: &[u8],
) -> Result<(), Gone> {
    state.activity().touch();
    let (code, detail) = match crate::extract::parse::<SendMessage>(text) {
        Ok(_) if !principal.has(Scope::Write) => ("Forbidden", NEEDS_WRITE.to_owned()),
        Ok(_) if state.audit().refuses_changes() => ("MessageRefused", UNWRITTEN.to_owned()),
        Ok(message) => {
            let sent = state.engine().send(principal.user(), id, SendMessage { run: true, ..message }).await;
            let sent = sent.map_err(ApiError::from);
            let status = sent.as_ref().map_or_else(ApiError::status, |()| StatusCode::OK);
            trail.messaged(state, id, status).await;
            match sent {
                Ok(()) => return Ok(()),
                Err(error) => ("MessageRefused", error.detail()),
            }
        }
        Err(problem) => mistake(&problem),
    };
    let clock = Clock::system();
    let event = Event {
        id: Uuid::new_v4().to_string(),
        timestamp: clock.event_time(clock.now()),
        source: Source::Environment,
        parent_id: None,
        body: ServerErrorEvent { code: code.to_owned(), detail }.into(),
    };
    connection.send(event.to_json().into_bytes().into()).await
}
