//! The stream over a WebSocket.

use axum::{extract::WebSocketUpgrade, http::StatusCode, response::Response};
use longshore_engine::Subscription;
use longshore_protocol::account::Scope;
use serde::Deserialize;

use super::{Wish, frame::StreamFrame};
use crate::{
    ApiError, Principal,
    audit::{Trail, UNWRITTEN},
    routes::native::conversations::{check_workspace, said},
    sockets::{
        NEEDS_WRITE,
        admission::{Admission, Caller, is_late_authentication},
        connection::{Connection, Gone, close, open as open_socket},
        mistake,
    },
    state::AppState,
};

/// What a client says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    message: String,
}

/// Opens the socket. `reader` is there if the key was.
pub(super) fn open(
    state: AppState,
    caller: Caller,
    upgrade: WebSocketUpgrade,
    wish: Wish,
    admission: Admission,
    reader: Option<Subscription>,
) -> Response {
    open_socket(upgrade, &state.clone(), async move |socket| {
        let Caller { seat, trail, .. } = caller;
        let mut connection = Connection::new(socket, seat, &state);
        let Some(principal) = admission.complete(&state, &mut connection).await else {
            return trail.refused(&state).await;
        };
        trail.opened(&state, &principal, Some(wish.id)).await;
        let reader = match reader {
            Some(reader) => Ok(reader),
            None => wish.read(&state, &principal).await,
        };
        match reader {
            Ok(reader) => {
                let _ = serve(&state, &trail, &principal, wish, &mut connection, reader).await;
            }
            Err(error) if error.status().is_client_error() => {
                connection.close(close::NOT_FOUND, "Conversation not found").await;
            }
            Err(_) => connection.close(close::TRY_LATER, "The conversation cannot be read now").await,
        }
    })
}

async fn serve(
    state: &AppState,
    trail: &Trail,
    principal: &Principal,
    wish: Wish,
    connection: &mut Connection,
    mut reader: Subscription,
) -> Result<(), Gone> {
    loop {
        tokio::select! {
            told = reader.next_told() => match told {
                Ok(told) => if let Some(frame) = StreamFrame::of(&told) {
                    send(connection, frame).await?;
                },
                Err(reason) => {
                    connection.close_after(reason).await;
                    return Err(Gone);
                }
            },
            text = connection.receive() => match text {
                Some(text) if is_late_authentication(&text) => {}
                Some(text) => if let Err(frame) = take(state, trail, principal, wish, text.as_bytes()).await {
                    send(connection, frame).await?;
                },
                None => return Err(Gone),
            },
        }
    }
}

async fn send(connection: &mut Connection, frame: StreamFrame) -> Result<(), Gone> {
    connection.send(frame.into_json().into_bytes().into()).await
}

/// Gives a message to the agent.
///
/// # Errors
/// What is wrong with it, for this client alone.
async fn take(
    state: &AppState,
    trail: &Trail,
    principal: &Principal,
    wish: Wish,
    text: &[u8],
) -> Result<(), StreamFrame> {
    state.activity().touch();
    let say: Say = crate::extract::parse(text).map_err(|problem| {
        let (code, sentence) = mistake(&problem);
        StreamFrame::error(code, sentence)
    })?;
    if !principal.has(Scope::Write) {
        return Err(StreamFrame::error("Forbidden", NEEDS_WRITE));
    }
    if state.audit().refuses_changes() {
        return Err(StreamFrame::error("MessageRefused", UNWRITTEN));
    }
    let sent = send_message(state, principal, wish, say.message).await;
    let status = sent.as_ref().map_or_else(ApiError::status, |()| StatusCode::OK);
    trail.messaged(state, wish.id, status).await;
    sent.map_err(|error| StreamFrame::error("MessageRefused", error.detail()))
}

async fn send_message(state: &AppState, principal: &Principal, wish: Wish, message: String) -> Result<(), ApiError> {
    let message = said(message)?;
    check_workspace(state, principal.user(), wish.id).await?;
    Ok(state.engine().send(principal.user(), wish.id, message).await?)
}
