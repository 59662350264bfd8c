//! The stream as Server-Sent Events.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use longshore_engine::{Closed, Subscription};
use tokio_util::sync::CancellationToken;

use super::frame::StreamFrame;
use crate::state::AppState;

/// How often something is sent when nothing happens, so that nobody between takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What `subscription` gives, to the end of the conversation or the server. A client that reads slowly holds up nobody else.
pub(super) fn answer(state: &AppState, subscription: Subscription) -> Response {
    let events = events(subscription, state.closing().clone());
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // Proxies that collect answers would keep the client waiting.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response.headers_mut().insert(unbuffered.0, unbuffered.1);
    response
}

fn events(
    subscription: Subscription,
    closing: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(Some(subscription), move |subscription| {
        let closing = closing.clone();
        async move {
            let mut subscription = subscription?;
            tokio::select! {
                next = next(&mut subscription) => match next {
                    Ok(frame) => Some((Ok(event(frame)), Some(subscription))),
                    Err(reason) => last(reason).map(|frame| (Ok(event(frame)), None)),
                },
                () = closing.cancelled() => None,
            }
        }
    })
}

async fn next(subscription: &mut Subscription) -> Result<StreamFrame, Closed> {
    loop {
        if let Some(frame) = StreamFrame::of(&subscription.next_told().await?) {
            return Ok(frame);
        }
    }
}

fn event(frame: StreamFrame) -> Event {
    let event = match frame.seq {
        Some(seq) => Event::default().id(seq.to_string()),
        None => Event::default(),
    };
    event.data(frame.into_json())
}

/// What a client hears last. It comes back by itself when nothing is said.
fn last(reason: Closed) -> Option<StreamFrame> {
    match reason {
        Closed::Deleted => Some(StreamFrame::error("deleted", "The conversation was deleted.")),
        Closed::Stopping | Closed::Failed => None,
    }
}
