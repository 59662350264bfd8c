//! The connection to a `boxd`, and calls over it.

use std::{
    collections::HashSet,
    fmt, io,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep, timeout, timeout_at},
};
use uuid::Uuid;

use super::{MAX_ANSWER, patience::Patience};
use crate::{
    Connect, Error,
    wire::{CONNECTION_WINDOW, Call, Content, FRAME, Failure, Incoming, MAX_CALL, Message, STREAM_WINDOW},
};

/// How much a stream takes from whoever writes before it was sent.
const SEND_BUFFER: usize = 256 << 10;

/// How long a connection that kept a call waiting for too long has to show that it works, at most.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a broken connection is made again only to keep processes: as long as they are kept.
const KEEP_UP: Duration = Duration::from_mins(10);

/// How long such attempts pause: before the first one, and after each run out of patience.
const KEEP_UP_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Whether a call that may have been carried out already can be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It can: it changes nothing, or the same.
    Safe,
    /// It cannot.
    Never,
}

/// Why an exchange ended without an answer.
#[derive(Debug)]
pub(super) struct Broken {
    /// Whether the call may have arrived.
    sent: bool,
    cause: io::Error,
}

/// The way to a `boxd`. It connects when it must.
pub(super) struct Link {
    connect: Arc<dyn Connect>,
    patience: Duration,
    answer_timeout: Duration,
    /// Who speaks.
    client: Uuid,
    /// The processes that somebody here holds.
    alive: Mutex<HashSet<Uuid>>,
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// The runtime in which it was first used, for what is left to do when handles are dropped elsewhere.
    runtime: OnceLock<Handle>,
}

#[derive(Clone)]
struct Connection {
    sender: http2::SendRequest<Message>,
    end: Arc<AbortOnDrop>,
}

/// Ends a connection with the last who uses it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The task of a connection.
type Serving = JoinHandle<hyper::Result<()>>;

impl Link {
    pub(super) fn new(connect: Arc<dyn Connect>, patience: Duration, answer_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            connect,
            patience,
            answer_timeout,
            client: Uuid::new_v4(),
            alive: Mutex::default(),
            connection: tokio::sync::Mutex::new(None),
            runtime: OnceLock::new(),
        })
    }

    /// How long to try to reach a place that cannot be reached.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// How long an answer may take that does not wait for a process.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// Somebody holds the process `id`.
    pub(super) fn hold(&self, id: Uuid) {
        self.alive.lock().insert(id);
    }

    /// Nobody holds the process `id` any more: ends it, at the latest when the place can be reached again.
    pub(super) fn release(self: &Arc<Self>, id: Uuid) {
        self.alive.lock().remove(&id);
        self.later(|link| async move {
            let _: Result<(), _> = link.ask(&Call::End { id }, Repeat::Safe).await;
        });
    }

    /// Does something that nobody waits for.
    pub(super) fn later<F: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) {
        // Without a runtime there was no connection either, and nothing to end.
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(work(self.clone()));
        }
    }

    /// Makes a call that is answered soon.
    pub(super) async fn ask<T: DeserializeOwned>(self: &Arc<Self>, call: &Call, repeat: Repeat) -> Result<T, Error> {
        let (answer, _) = self.exchange(|| Message::short(call), MAX_ANSWER, repeat, Some(self.answer_timeout)).await?;
        Ok(answer)
    }

    /// Makes a call that changes nothing and is answered within `time`, with up to `limit` bytes.
    pub(super) async fn ask_for<T: DeserializeOwned>(
        self: &Arc<Self>,
        call: &Call,
        limit: usize,
        time: Duration,
    ) -> Result<T, Error> {
        let (answer, _) = self.exchange(|| Message::short(call), limit, Repeat::Safe, Some(time)).await?;
        Ok(answer)
    }

    /// Makes a call that is answered soon and gives the bytes that follow the answer.
    pub(super) async fn open<T: DeserializeOwned>(self: &Arc<Self>, call: &Call) -> Result<(T, Incoming), Error> {
        self.exchange(|| Message::short(call), MAX_ANSWER, Repeat::Safe, Some(self.answer_timeout)).await
    }

    /// Makes a call that is followed by bytes and answered before their end, soon if `time` says so; gives the bytes that
    /// follow the answer. `content` is made anew if the connection breaks before there is an answer.
    pub(super) async fn converse<T: DeserializeOwned>(
        self: &Arc<Self>,
        call: &Call,
        time: Option<Duration>,
        mut content: impl FnMut() -> Content + Send,
    ) -> Result<(T, Incoming), Error> {
        self.exchange(move || Message::long(call, content()), MAX_ANSWER, Repeat::Safe, time).await
    }

    /// Makes a call that is answered when something happens.
    pub(super) async fn wait_for<T: DeserializeOwned>(self: &Arc<Self>, call: &Call) -> Result<T, Error> {
        let (answer, _) = self.exchange(|| Message::short(call), MAX_ANSWER, Repeat::Safe, None).await?;
        Ok(answer)
    }

    /// Sends a message until it is answered, as far as that is allowed, connecting again if it must.
    async fn exchange<T: DeserializeOwned>(
        self: &Arc<Self>,
        mut message: impl FnMut() -> Message + Send,
        limit: usize,
        repeat: Repeat,
        time: Option<Duration>,
    ) -> Result<(T, Incoming), Error> {
        let mut patience = Patience::new(self.patience, time);
        loop {
            let mut connection = self.connection(patience.deadline()).await?;
            let began = Instant::now();
            let Broken { sent, cause } = match connection.exchange_within(time, message(), limit).await {
                Ok((Ok(answer), rest)) => return Ok((answer, rest)),
                Ok((Err(failure), _)) => return Err(failure.into()),
                Err(broken) => broken,
            };
            match cause.kind() {
                io::ErrorKind::InvalidInput => return Err(Error::io("ask the place", cause)),
                io::ErrorKind::TimedOut | io::ErrorKind::InvalidData => return Err(Error::Unreachable { cause }),
                _ => {}
            }
            if sent && repeat == Repeat::Never {
                let unknown = format!("the connection broke before the answer, so it may be done or not: {cause}");
                return Err(Error::Unreachable { cause: io::Error::new(cause.kind(), unknown) });
            }
            if !patience.is_left(began).await {
                return Err(Error::Unreachable { cause });
            }
        }
    }

    /// The connection, which is made if there is none.
    async fn connection(self: &Arc<Self>, deadline: Instant) -> Result<Connection, Error> {
        let busy =
            || Error::Unreachable { cause: io::Error::new(io::ErrorKind::TimedOut, "it is being tried for too long") };
        let mut current = timeout_at(deadline, self.connection.lock()).await.map_err(|_| busy())?;
        if let Some(connection) = &*current
            && connection.is_usable()
        {
            return Ok(connection.clone());
        }
        *current = None;
        let mut patience = Patience::new(deadline.saturating_duration_since(Instant::now()), None);
        loop {
            let began = Instant::now();
            let cause = match timeout_at(deadline, self.connect()).await {
                Ok(Ok(connection)) => return Ok(current.insert(connection).clone()),
                Ok(Err(cause)) => cause,
                Err(_) => return Err(Error::Unreachable { cause: late(self.patience) }),
            };
            // Somebody knows that there is nothing to wait for.
            if cause.kind() == io::ErrorKind::NotConnected || !patience.is_left(began).await {
                return Err(Error::Unreachable { cause });
            }
        }
    }

    /// Connects and says hello.
    async fn connect(self: &Arc<Self>) -> io::Result<Connection> {
        self.runtime.get_or_init(Handle::current);
        let stream = self.connect.connect().await?;
        let (sender, serving) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let serving = tokio::spawn(serving);
        let mut connection = Connection { sender, end: Arc::new(AbortOnDrop(serving.abort_handle())) };
        tokio::spawn(keep_up(Arc::downgrade(self), serving));
        let alive = self.alive.lock().iter().copied().collect();
        let hello = Message::short(&Call::Hello { client: self.client, alive });
        let answered = connection.exchange::<()>(hello, MAX_ANSWER).await;
        let (welcome, _) = answered.map_err(|broken| broken.cause)?;
        welcome.map_err(Failure::into_io)?;
        Ok(connection)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connect", &self.connect).finish_non_exhaustive()
    }
}

/// Connects again, when the connection that `serving` is has ended, for the sake of processes that somebody holds without
/// asking for anything: whoever stays away loses them.
fn keep_up(link: Weak<Link>, serving: Serving) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        // However it ended, whoever uses it notices.
        let _ = serving.await;
        let end = Instant::now() + KEEP_UP;
        sleep(KEEP_UP_PAUSES.0).await;
        while Instant::now() < end {
            let Some(link) = link.upgrade().filter(|link| !link.alive.lock().is_empty()) else { return };
            if link.connection(Instant::now() + link.patience).await.is_ok() {
                return;
            }
            drop(link);
            sleep(KEEP_UP_PAUSES.1).await;
        }
    })
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a message and reads the head of its answer, within `time` if there is one.
    async fn exchange_within<T: DeserializeOwned>(
        &mut self,
        time: Option<Duration>,
        message: Message,
        limit: usize,
    ) -> Exchanged<T> {
        let Some(time) = time else { return self.exchange(message, limit).await };
        if let Ok(exchanged) = timeout(time, self.exchange(message, limit)).await {
            return exchanged;
        }
        // Either the call takes long, or nothing works any more.
        let ping = self.exchange::<()>(Message::short(&Call::Ping), MAX_ANSWER);
        if !matches!(timeout(time.min(PING_TIMEOUT), ping).await, Ok(Ok(_))) {
            self.end.0.abort();
        }
        Err(Broken { sent: true, cause: late(time) })
    }

    /// Sends a message and reads the head of its answer.
    async fn exchange<T: DeserializeOwned>(&mut self, message: Message, limit: usize) -> Exchanged<T> {
        if message.head_len() > MAX_CALL {
            return Err(refused(format!("it is longer than {MAX_CALL} bytes")));
        }
        let request = Request::post("/").body(message).map_err(refused)?;
        let answer = self.sender.try_send_request(request).await.map_err(|mut error| Broken {
            sent: error.take_message().is_none(),
            cause: io::Error::other(chain(&error.into_error())),
        })?;
        Incoming::read(answer.into_body(), limit).await.map_err(|cause| Broken { sent: true, cause })
    }
}

/// The head of an answer, and the bytes behind it.
type Exchanged<T> = Result<(Result<T, Failure>, Incoming), Broken>;

fn late(time: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {time:?}"))
}

fn refused(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Broken {
    Broken { sent: false, cause: io::Error::new(io::ErrorKind::InvalidInput, cause) }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
