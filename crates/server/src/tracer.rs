//! Traces that go on from one program to the next.

use std::fmt;

use axum::http::{HeaderMap, Method, StatusCode};
use tracing::Span;

/// Ties the spans of this server to the traces of others. Methods must be quick and must not wait.
pub trait Tracer: fmt::Debug + Send + Sync {
    /// A request with these headers was received, not one of a probe. Its span has a field `trace.id` for the id of the trace.
    fn received(&self, span: &Span, headers: &HeaderMap);

    /// The request has an answer. `route` is as it is written in the table of routes.
    fn answered(&self, span: &Span, method: &Method, route: &str, status: StatusCode);

    /// A span of work that `cause` asked for and that may outlive it: to be in the same trace.
    fn caused(&self, work: &Span, cause: &Span);
}
