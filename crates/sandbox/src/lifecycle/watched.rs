//! What is open in a box, and what it means for the box's sleep: a process, a file and a connection keep it awake for as
//! long as somebody has them; a terminal only when something is typed or shown, since agents keep theirs for days.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use longshore_workspace::{
    Error, ExitStatus, FileWriter, Process, ProcessControl, Reader, Signal, Terminal, TerminalControl, TerminalSize,
    Writer,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::RwLock,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::slot::{Slot, Use};
use crate::Error as BoxError;

/// A process that keeps its box awake and is killed when it has run for `timeout`.
pub(crate) fn process(process: Process, used: Use, timeout: Option<Duration>) -> Process {
    let Process { stdin, stdout, stderr, control } = process;
    let inner = Arc::new(RwLock::new(control));
    let end = timeout.map(|timeout| {
        let deadline = Instant::now() + timeout;
        let killer = AbortOnDropHandle::new(tokio::spawn(kill_at(deadline, Arc::clone(&inner))));
        (deadline, killer)
    });
    Process { stdin, stdout, stderr, control: Box::new(Control { inner, end, _used: used }) }
}

/// Ends a process for which nobody waits; perhaps somebody reads what it says.
async fn kill_at(deadline: Instant, control: Arc<RwLock<Box<dyn ProcessControl>>>) {
    tokio::time::sleep_until(deadline).await;
    if let Err(error) = control.read().await.signal(Signal::Kill).await {
        tracing::warn!(%error, "a process whose time is over could not be killed");
    }
}

struct Control {
    /// Whoever waits for the end has it for writing.
    inner: Arc<RwLock<Box<dyn ProcessControl>>>,
    /// When the process is killed, and what does so if nobody waits then.
    end: Option<(Instant, AbortOnDropHandle<()>)>,
    _used: Use,
}

#[async_trait]
impl ProcessControl for Control {
    async fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.inner.read().await.signal(signal).await
    }

    async fn wait(&mut self) -> Result<ExitStatus, Error> {
        let mut inner = self.inner.write().await;
        let Some((deadline, _)) = &self.end else { return inner.wait().await };
        if let Ok(ended) = tokio::time::timeout_at(*deadline, inner.wait()).await {
            return ended;
        }
        inner.signal(Signal::Kill).await?;
        inner.wait().await
    }
}

/// A file that is being written and keeps its box awake.
pub(crate) fn file_writer(writer: Box<dyn FileWriter>, used: Use) -> Box<dyn FileWriter> {
    Box::new(UsedFile { writer, _used: used })
}

struct UsedFile {
    writer: Box<dyn FileWriter>,
    _used: Use,
}

#[async_trait]
impl FileWriter for UsedFile {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.writer.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<(), Error> {
        self.writer.finish().await
    }
}

/// Bytes that keep a box awake.
pub(crate) struct Used<S, U> {
    stream: S,
    _used: U,
}

impl<S, U> Used<S, U> {
    pub(crate) fn new(stream: S, used: U) -> Self {
        Self { stream, _used: used }
    }
}

impl<S: AsyncRead + Unpin, U: Unpin> AsyncRead for Used<S, U> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, U: Unpin> AsyncWrite for Used<S, U> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A terminal whose box may sleep between what is typed and shown.
pub(crate) fn terminal(terminal: Terminal, slot: &Arc<Slot>) -> Terminal {
    let Terminal { output, input, control } = terminal;
    Terminal {
        output: Box::pin(Shown { output, slot: Arc::clone(slot) }),
        input: Box::pin(Typed { input, slot: Arc::clone(slot), waking: Mutex::default() }),
        control: Box::new(AwakeControl { control, slot: Arc::clone(slot) }),
    }
}

struct Shown {
    output: Reader,
    slot: Arc<Slot>,
}

impl AsyncRead for Shown {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.output.as_mut().poll_read(cx, buf))?;
        self.slot.touch();
        Poll::Ready(Ok(()))
    }
}

struct Typed {
    input: Writer,
    slot: Arc<Slot>,
    /// In a lock only because the bytes may be shared between threads, and what wakes may not.
    waking: Mutex<Option<BoxFuture<'static, Result<Use, BoxError>>>>,
}

impl AsyncWrite for Typed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let waking = this.waking.get_mut();
        if waking.is_none() && !this.slot.touch() {
            let slot = Arc::clone(&this.slot);
            *waking = Some(Box::pin(async move { slot.enter().await }));
        }
        if let Some(wake) = waking {
            let woken = ready!(wake.as_mut().poll(cx));
            *waking = None;
            woken.map_err(io::Error::other)?;
        }
        this.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}

struct AwakeControl {
    control: Box<dyn TerminalControl>,
    slot: Arc<Slot>,
}

impl AwakeControl {
    async fn wake(&self) -> Result<Use, Error> {
        let woken = self.slot.enter().await;
        woken.map_err(|cause| Error::Io { what: "use the workspace".to_owned(), cause: io::Error::other(cause) })
    }
}

#[async_trait]
impl ProcessControl for AwakeControl {
    async fn signal(&self, signal: Signal) -> Result<(), Error> {
        let _used = self.wake().await?;
        self.control.signal(signal).await
    }

    async fn wait(&mut self) -> Result<ExitStatus, Error> {
        self.control.wait().await
    }
}

#[async_trait]
impl TerminalControl for AwakeControl {
    async fn signal_foreground(&self, signal: Signal) -> Result<(), Error> {
        let _used = self.wake().await?;
        self.control.signal_foreground(signal).await
    }

    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let _used = self.wake().await?;
        self.control.resize(size).await
    }
}
