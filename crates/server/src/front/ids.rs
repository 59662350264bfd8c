//! Whose and what a request is, on every line of the log that belongs to it.

use axum::http::HeaderValue;
use tracing::{Span, field::Empty};
use uuid::Uuid;

use crate::Principal;

/// The span of a request to a route. `path` is what the client called, of which only ids are taken.
pub(super) fn span(request: &HeaderValue, route: &str, path: &str) -> Span {
    // Of the highest level, so that its ids are on every line of the log, whatever level is chosen.
    let span = tracing::error_span!(
        parent: None,
        "request",
        request.id = request.to_str().unwrap_or_default(),
        user.id = Empty,
        conversation.id = Empty,
        workspace.id = Empty,
        trace.id = Empty,
    );
    let mut resource = "";
    for (template, part) in route.split('/').zip(path.split('/')) {
        let field = match (template, resource) {
            ("{conversation_id}", _) | ("{id}", "conversations") => Some("conversation.id"),
            ("{workspace_id}", _) | ("{id}", "workspaces") => Some("workspace.id"),
            _ => None,
        };
        // What is no id is a text that a client made up.
        if let (Some(field), Ok(id)) = (field, Uuid::parse_str(part)) {
            span.record(field, tracing::field::display(id.hyphenated()));
        }
        resource = template;
    }
    span
}

/// Notes who asks, in the request that is being answered.
pub(crate) fn note(principal: &Principal) {
    let span = Span::current();
    span.record("user.id", &*principal.user().0);
    if let Some(workspace) = principal.workspace() {
        span.record("workspace.id", tracing::field::display(workspace));
    }
}
