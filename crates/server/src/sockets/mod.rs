//! WebSockets (contract: server §2.3, §5).

pub(crate) mod admission;
mod bash;
pub(crate) mod connection;
mod events;

use axum::{Router, routing::any};
use longshore_protocol::error::ValidationError;

use crate::state::AppState;

/// The sockets, each with its own admission.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/sockets/bash-events", any(bash::bash_events))
        .route("/sockets/events/{conversation_id}", any(events::events))
}

/// What a client hears that says something with a key that is only for reading.
pub(crate) const NEEDS_WRITE: &str = "This needs the scope write: connect with a key that has it.";

/// What is wrong with a message, in the words of an event: which mistake it is, and what to do about it.
pub(crate) fn mistake(problem: &ValidationError) -> (&'static str, String) {
    let code = if problem.r#type == "json_invalid" { "JSONDecodeError" } else { "ValidationError" };
    let loc: Vec<_> = problem.loc.iter().skip(1).map(|step| step.to_string().replace('"', "")).collect();
    (code, format!("{}: {}", loc.join("."), problem.msg))
}
