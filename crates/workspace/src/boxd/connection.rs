//! Connections from servers.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use hyper::{Response, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::answer,
    client::{Attachment, Clients},
    egress::Egress,
    protect,
};
use crate::{
    Local,
    wire::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW},
};

/// How many connections there are at most. Another one makes room for itself: it may be a server that comes back.
const MAX_CONNECTIONS: usize = 4;

/// How many files and connections to ports are open at most.
pub(super) const MAX_OPEN: usize = 1024;

/// How many streams a connection has at most. Four for each process and one for each file and connection leave room for
/// signals.
const MAX_STREAMS: u32 = 8192;

/// How much a stream takes from a process or a file before it was sent.
const SEND_BUFFER: usize = 256 << 10;

/// How long to wait if no connection can be taken, which means that there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What the exchanges of all connections share.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) local: Local,
    pub(super) clients: Arc<Clients>,
    pub(super) egress: Option<Arc<Egress>>,
    /// Room for files and connections to ports.
    pub(super) room: Arc<Semaphore>,
    /// Whether the socket can be reached by users that could not end this process.
    pub(super) checks_users: bool,
}

/// What the exchanges of one connection share.
pub(super) struct Connection {
    pub(super) served: Served,
    /// Who speaks, since it said so.
    pub(super) client: OnceLock<Attachment>,
    /// Ends the connection.
    pub(super) end: CancellationToken,
}

/// Serves whoever connects, until the socket fails.
pub(super) async fn accept(listener: UnixListener, served: Served) -> io::Result<()> {
    let mut open: Vec<Weak<Connection>> = Vec::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if served.checks_users && !protect::is_own_user(&stream) {
            continue;
        }
        open.retain(|connection| connection.strong_count() > 0);
        if open.len() == MAX_CONNECTIONS {
            // Whoever has not said who they are goes first, then whoever came first.
            let is_unknown = |connection: &Connection| connection.client.get().is_none();
            let unknown =
                open.iter().position(|connection| connection.upgrade().is_none_or(|found| is_unknown(&found)));
            if let Some(connection) = open.remove(unknown.unwrap_or(0)).upgrade() {
                connection.end.cancel();
            }
        }
        let end = CancellationToken::new();
        let connection = Arc::new(Connection { served: served.clone(), client: OnceLock::new(), end });
        open.push(Arc::downgrade(&connection));
        tokio::spawn(serve(stream, connection));
    }
}

async fn serve(stream: UnixStream, connection: Arc<Connection>) {
    let end = connection.end.clone();
    let service = service_fn({
        let connection = connection.clone();
        move |request| {
            let connection = connection.clone();
            async move { Ok::<_, Infallible>(Response::new(answer(&connection, request).await)) }
        }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(MAX_STREAMS)
        // A server that gives up many things at once is no attack.
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // However it ended, the server connects again or does not.
        _ = serving => {}
        () = end.cancelled() => {}
    }
    end.cancel();
}
