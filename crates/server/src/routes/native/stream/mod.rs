//! `/conversations/{id}/stream`: what happens in a conversation, over a WebSocket or as Server-Sent Events.

mod frame;
mod socket;
mod sse;

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, Method},
    response::Response,
};
use longshore_engine::{Replay, Subscription};
use longshore_protocol::{ConversationId, account::Scope, error::ErrorBody};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use self::frame::StreamFrame;
use crate::{
    ApiError, Principal,
    auth::{in_reach, principal},
    extract::{ApiPath, ApiQuery},
    routes::conversations::Id,
    routing::Routes,
    sockets::admission::{Admission, Caller},
    state::AppState,
};

/// Where a client of Server-Sent Events says what it has already.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(stream))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// Only what follows this position of the log; what comes then, if the log is not that long. Without it, all from the start.
    #[serde(default)]
    after_seq: Option<u64>,
    /// The key, for clients that cannot send headers.
    #[serde(default)]
    session_api_key: Option<String>,
}

/// What happened in a conversation and what happens: over a WebSocket, which also takes `{"message": …}` for the agent, or
/// else as Server-Sent Events, whose ids are positions of the log. A socket without a key must say
/// `{"type": "auth", "session_api_key": …}` first.
#[utoipa::path(get, path = "/conversations/{conversation_id}/stream", tag = "Native conversations",
    params(
        ("conversation_id" = ConversationId, Path),
        StreamQuery,
        ("last-event-id" = Option<u64>, Header, description = "As after_seq, and before it."),
    ),
    responses(
        (status = 101, description = "The WebSocket is open; each frame is a StreamFrame."),
        (status = 200, body = StreamFrame, content_type = "text/event-stream"),
        (status = 404, body = ErrorBody, description = "There is no such conversation."),
    ))]
async fn stream(
    State(state): State<AppState>,
    caller: Caller,
    path: Result<ApiPath<Id>, ApiError>,
    query: Result<ApiQuery<StreamQuery>, ApiError>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let key = query.as_ref().ok().and_then(|query| query.0.session_api_key.clone());
    // Who asks comes before what is asked.
    let admission = match (&upgrade, &key) {
        (Err(_), None) => {
            let Caller { headers, client, trail, .. } = &caller;
            let principal = principal(&state, &Method::GET, headers, *client, trail).await?;
            principal.require(Scope::Read)?;
            Admission::Granted(principal)
        }
        _ => Admission::before_upgrade(&state, &caller, key.as_deref()).await?,
    };
    let (ApiPath(path), ApiQuery(query)) = (path?, query?);
    let wish = Wish { id: path.conversation_id, replay: replay(&caller.headers, &query)? };
    match (upgrade, admission) {
        (Ok(upgrade), Admission::Granted(principal)) => {
            let reader = wish.read(&state, &principal).await?;
            Ok(socket::open(state, caller, upgrade, wish, Admission::Granted(principal), Some(reader)))
        }
        (Ok(upgrade), pending) => Ok(socket::open(state, caller, upgrade, wish, pending, None)),
        (Err(_), Admission::Granted(principal)) => Ok(sse::answer(&state, wish.read(&state, &principal).await?)),
        (Err(_), Admission::Pending(_)) => Err(ApiError::unauthorized()),
    }
}

fn replay(headers: &HeaderMap, query: &StreamQuery) -> Result<Replay, ApiError> {
    let last = match headers.get(LAST_EVENT_ID) {
        None => query.after_seq,
        Some(id) => {
            let seq = id.to_str().ok().and_then(|id| id.parse().ok());
            Some(seq.ok_or_else(|| ApiError::unprocessable("Last-Event-ID must be an id that the stream gave."))?)
        }
    };
    Ok(last.map_or(Replay::All, Replay::After))
}

/// What a client wants to read.
#[derive(Clone, Copy)]
struct Wish {
    id: ConversationId,
    replay: Replay,
}

impl Wish {
    /// A reader for `principal`.
    ///
    /// # Errors
    /// 404 if the principal has no such conversation or does not reach it.
    async fn read(self, state: &AppState, principal: &Principal) -> Result<Subscription, ApiError> {
        state.activity().touch();
        in_reach(state, principal, self.id).await?;
        Ok(state.engine().subscribe(principal.user(), self.id, self.replay).await?)
    }
}
