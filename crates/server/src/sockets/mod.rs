//! WebSockets (contract: server §2.3, §5).

pub(crate) mod admission;
mod bash;
pub(crate) mod connection;
mod events;

use axum::{Router, routing::any};

use crate::state::AppState;

/// The sockets, each with its own admission.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/sockets/bash-events", any(bash::bash_events))
        .route("/sockets/events/{conversation_id}", any(events::events))
}
