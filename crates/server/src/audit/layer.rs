//! Logs requests that change something or are refused.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use longshore_store::AuditEntry;

use super::{Recorder, Trail, UNWRITTEN, names};
use crate::{ApiError, state::AppState};

/// Logs a request after its answer is known, if it changed something or was refused. Stands before authentication.
pub(crate) async fn audit(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let recorder = state.audit();
    if !recorder.is_enabled() {
        return next.run(request).await;
    }
    let changes = names::changes(request.method());
    if changes && recorder.refuses_changes() {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, UNWRITTEN).into_response();
    }
    let trail = Trail::of(&request);
    request.extensions_mut().insert(trail.clone());
    let mut asked = Asked {
        recorder: recorder.clone(),
        method: request.method().clone(),
        route: request.extensions().get::<MatchedPath>().map_or_else(String::new, |route| route.as_str().to_owned()),
        path: request.uri().path().to_owned(),
        trail,
        is_open: changes,
    };
    let response = next.run(request).await;
    asked.answered(response.status()).await;
    response
}

/// A request that was let in.
struct Asked {
    recorder: Recorder,
    method: Method,
    route: String,
    path: String,
    trail: Trail,
    /// Whether it changes something, and it is not known yet how it ends.
    is_open: bool,
}

impl Asked {
    async fn answered(&mut self, status: StatusCode) {
        let changes = std::mem::replace(&mut self.is_open, false);
        let is_refused = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
            StatusCode::TOO_MANY_REQUESTS => changes,
            _ => false,
        };
        if !changes && !is_refused || is_refused && !self.recorder.admit_refusal(self.trail.client()) {
            return;
        }
        let action = match self.trail.principal() {
            None if is_refused => names::REFUSED,
            _ if changes => names::of(&self.method, &self.route),
            _ => names::FORBIDDEN,
        };
        let mut entry = self.entry(action);
        entry.status = Some(status.as_u16());
        self.recorder.record(entry).await;
    }

    fn entry(&self, action: &str) -> AuditEntry {
        let mut entry = self.trail.entry(action);
        if entry.target.is_none()
            && let Some((kind, id)) = names::target(&self.route, &self.path)
        {
            (entry.target_kind, entry.target) = (Some(kind.to_owned()), Some(id.to_owned()));
        }
        if entry.target_kind.as_deref() == Some("user") {
            entry.owner.clone_from(&entry.target);
        }
        entry.details.insert("method".to_owned(), self.method.as_str().into());
        entry.details.insert("route".to_owned(), self.route.as_str().into());
        entry
    }
}

impl Drop for Asked {
    /// The client did not wait for the answer, or the handler panicked: what was asked may be done all the same.
    fn drop(&mut self) {
        if self.is_open {
            let mut entry = self.entry(names::of(&self.method, &self.route));
            entry.details.insert("outcome".to_owned(), "broken off".into());
            self.recorder.record_later(entry);
        }
    }
}
