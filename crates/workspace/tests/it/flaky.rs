//! Connections that break where a test wants them to.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use longshore_workspace::{Connect, Stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;

/// Connects to a socket over something that breaks.
#[derive(Debug, Clone)]
pub(crate) struct Flaky {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many bytes pass over the next connections from and to the socket before they break; then they last.
    limits: VecDeque<Limit>,
    refused: Option<io::ErrorKind>,
    cut: CancellationToken,
    made: usize,
}

/// How many bytes pass over a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Limit {
    pub(crate) const NONE: Self = Self { from: u64::MAX, to: u64::MAX };
}

impl Flaky {
    pub(crate) fn new(socket: PathBuf, limits: impl IntoIterator<Item = Limit>) -> Self {
        let state = State { limits: limits.into_iter().collect(), ..State::default() };
        Self { socket, state: Arc::new(Mutex::new(state)) }
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut self.state.lock().expect("the state").cut).cancel();
    }

    /// Breaks all connections and makes no others.
    pub(crate) fn close(&self, why: io::ErrorKind) {
        self.state.lock().expect("the state").refused = Some(why);
        self.cut();
    }

    /// Makes connections again.
    pub(crate) fn open(&self) {
        self.state.lock().expect("the state").refused = None;
    }

    /// How many connections were made.
    pub(crate) fn made(&self) -> usize {
        self.state.lock().expect("the state").made
    }
}

#[async_trait]
impl Connect for Flaky {
    async fn connect(&self) -> io::Result<Stream> {
        let socket = UnixStream::connect(&self.socket).await?;
        let (limit, cut) = {
            let mut state = self.state.lock().expect("the state");
            if let Some(kind) = state.refused {
                return Err(io::Error::new(kind, "closed by the test"));
            }
            state.made += 1;
            (state.limits.pop_front().unwrap_or(Limit::NONE), state.cut.clone())
        };
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let (far_reader, far_writer) = tokio::io::split(far);
            let (reader, writer) = socket.into_split();
            // Whatever ends first ends everything, in the middle of whatever it is.
            tokio::select! {
                () = pass(reader, far_writer, limit.from) => {}
                () = pass(far_reader, writer, limit.to) => {}
                () = cut.cancelled() => {}
            }
        });
        Ok(Box::new(near))
    }
}

async fn pass(reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin, limit: u64) {
    let mut reader = reader.take(limit);
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        if writer.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
