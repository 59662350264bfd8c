//! An open socket: keeps it alive, notices when the other end is gone, and ends when the server does.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    response::Response,
};
use longshore_engine::Closed;
use longshore_store::Owner;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use tracing::{Instrument as _, Span};

use crate::{Principal, accept::Seat, protect::Counted, state::AppState};

/// How often the other end is asked whether it is there, and how long it may take to say so.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How long one message may take to leave.
const SEND_PATIENCE: Duration = Duration::from_secs(20);

/// How long a goodbye may take.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Why a socket is closed. Clients stop for good on 4001 and 4004, and come back after anything else.
pub(crate) mod close {
    /// The server stops.
    pub(crate) const RESTART: u16 = 1012;
    /// The client is too slow, or there are too many.
    pub(crate) const TRY_LATER: u16 = 1013;
    /// There is no such conversation.
    pub(crate) const NOT_FOUND: u16 = 4004;
    /// There is no good key.
    pub(crate) const UNAUTHENTICATED: u16 = 4001;
}

/// Opens a socket with limits. `work` goes on in the span of the request that asked for it.
pub(crate) fn open<F: Future<Output = ()> + Send + 'static>(
    upgrade: WebSocketUpgrade,
    state: &AppState,
    work: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response {
    let span = Span::current();
    let largest = usize::try_from(state.options().limits.message_bytes).unwrap_or(usize::MAX);
    let upgrade = upgrade.max_message_size(largest).max_frame_size(largest).write_buffer_size(0);
    upgrade.on_upgrade(move |socket| work(socket).instrument(span))
}

/// An open socket.
pub(crate) struct Connection {
    socket: WebSocket,
    heartbeat: Interval,
    heard: Instant,
    closing: CancellationToken,
    /// Lets the server wait for the goodbye.
    _open: TaskTrackerToken,
    /// None on a server that others run in their own way.
    _seat: Option<Seat>,
    /// Counts the socket for its user, when there is one.
    counted: Option<Counted<Owner>>,
    state: AppState,
    /// Who opened it, once that is known.
    principal: Option<Principal>,
    account_changes: watch::Receiver<()>,
}

/// The other end is gone, or too slow to be there.
#[derive(Debug)]
pub(crate) struct Gone;

impl Connection {
    pub(crate) fn new(socket: WebSocket, seat: Option<Seat>, state: &AppState) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (closing, open) = (state.closing().clone(), state.sockets().token());
        Self {
            socket,
            heartbeat,
            heard: Instant::now(),
            closing,
            _open: open,
            _seat: seat,
            counted: None,
            account_changes: state.account_changes(),
            state: state.clone(),
            principal: None,
        }
    }

    /// The next text. None once the connection has ended, because of the client or because the server stops. Nothing is
    /// lost if the call is cancelled.
    pub(crate) async fn receive(&mut self) -> Option<Utf8Bytes> {
        loop {
            tokio::select! {
                message = self.socket.recv() => {
                    self.heard = Instant::now();
                    match message? {
                        Ok(Message::Text(text)) => return Some(text),
                        Ok(Message::Binary(bytes)) => match Utf8Bytes::try_from(bytes) {
                            Ok(text) => return Some(text),
                            Err(_) => return Some(Utf8Bytes::default()),
                        },
                        Ok(Message::Ping(_) | Message::Pong(_)) => {}
                        Ok(Message::Close(_)) | Err(_) => return None,
                    }
                }
                now = self.heartbeat.tick() => {
                    let is_silent = now.duration_since(self.heard) >= HEARTBEAT * 2;
                    if is_silent || self.deliver(Message::Ping(Bytes::new())).await.is_err() {
                        return None;
                    }
                    // Others may have changed the accounts beside this server.
                    self.check_key().await?;
                }
                Ok(()) = self.account_changes.changed() => self.check_key().await?,
                () = self.closing.cancelled() => {
                    self.close(close::RESTART, "The server is stopping").await;
                    return None;
                }
            }
        }
    }

    /// Counts the socket for a user as long as it is open, and says whether they may have one more.
    pub(crate) fn count_for(&mut self, principal: &Principal) -> bool {
        self.counted = self.state.protection().socket(principal.user());
        self.principal = Some(principal.clone());
        self.counted.is_some()
    }

    /// Closes the socket if whoever opened it would not be let in any more; none then.
    async fn check_key(&mut self) -> Option<()> {
        let Some(principal) = &self.principal else { return Some(()) };
        if self.state.authenticator().admits(principal).await {
            return Some(());
        }
        self.close(close::UNAUTHENTICATED, "The key opens nothing any more").await;
        None
    }

    /// Sends a JSON text.
    ///
    /// # Errors
    /// [`Gone`] if the other end does not read, or if the server stops.
    pub(crate) async fn send(&mut self, json: Bytes) -> Result<(), Gone> {
        let text = Utf8Bytes::try_from(json).map_err(|_| Gone)?;
        self.deliver(Message::Text(text)).await
    }

    /// Says goodbye. Whatever the other end does, the connection is over.
    pub(crate) async fn close(&mut self, code: u16, reason: &'static str) {
        let goodbye = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = timeout(CLOSE_PATIENCE, async {
            self.socket.send(goodbye).await?;
            // The other end answers with its own goodbye; until then a closed connection could eat ours.
            while let Some(Ok(message)) = self.socket.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            Ok::<_, axum::Error>(())
        })
        .await;
    }

    /// Says goodbye because a conversation cannot be followed any further.
    pub(crate) async fn close_after(&mut self, end: Closed) {
        let (code, words) = match end {
            Closed::Deleted => (close::NOT_FOUND, "Conversation not found"),
            Closed::Stopping => (close::RESTART, "The server is stopping"),
            Closed::Failed => (close::TRY_LATER, "Connect again"),
        };
        self.close(code, words).await;
    }

    async fn deliver(&mut self, message: Message) -> Result<(), Gone> {
        tokio::select! {
            sent = timeout(SEND_PATIENCE, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                _ => Err(Gone),
            },
            () = self.closing.cancelled() => {
                self.close(close::RESTART, "The server is stopping").await;
                Err(Gone)
            }
        }
    }
}
