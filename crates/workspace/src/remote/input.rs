//! A process's input: kept here until the process has it, so that a broken connection loses nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream;
use parking_lot::Mutex;
use tokio::{io::AsyncWrite, sync::Notify};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::link::Link;
use crate::{Error, Writer, wire::Call};

/// How much is kept here.
const MAX_PENDING: usize = 256 << 10;

/// How much is delivered at once: what a connection must carry to be of any use, since it comes again if that breaks.
const CHUNK: usize = 64 << 10;

/// The input of the process `id`, which is delivered until `over`.
///
/// A write that has returned is on its way; a flush waits until the process's pipe or terminal has everything.
pub(super) fn writer(link: Arc<Link>, id: Uuid, over: CancellationToken) -> Writer {
    let shared = Arc::new(Shared::default());
    let delivery = Delivery { link, id, shared: shared.clone() };
    tokio::spawn(async move { over.run_until_cancelled(delivery.run()).await });
    Box::pin(Input(shared))
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to deliver.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    /// What the process does not have, as far as is known here.
    pending: BytesMut,
    /// Nothing will be added.
    closed: bool,
    /// Nothing will be delivered any more: it was closed, or it failed.
    over: Option<Result<(), (io::ErrorKind, String)>>,
    /// Whoever waits for room or for the end.
    waiting: Option<Waker>,
}

struct Input(Arc<Shared>);

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state.lock();
        state.check()?;
        if state.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(MAX_PENDING - state.pending.len());
        if count == 0 && !bytes.is_empty() {
            return state.wait(cx);
        }
        state.pending.extend_from_slice(&bytes[..count]);
        self.0.wanted.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state.lock();
        state.check()?;
        if state.pending.is_empty() { Poll::Ready(Ok(())) } else { state.wait(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state.lock();
        state.closed = true;
        self.0.wanted.notify_one();
        state.check()?;
        if state.over.is_some() { Poll::Ready(Ok(())) } else { state.wait(cx) }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.wanted.notify_one();
    }
}

impl State {
    /// The error with which delivery ended.
    fn check(&self) -> io::Result<()> {
        match &self.over {
            Some(Err((kind, message))) => Err(io::Error::new(*kind, message.clone())),
            _ => Ok(()),
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wake(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// Delivers input, one part after the other.
struct Delivery {
    link: Arc<Link>,
    id: Uuid,
    shared: Arc<Shared>,
}

impl Delivery {
    async fn run(self) {
        let mut offset = 0;
        loop {
            let (bytes, close) = self.next().await;
            let given = self.give(offset, &bytes, close).await;
            let mut state = self.shared.state.lock();
            state.wake();
            match given {
                Ok(()) => {
                    offset += bytes.len() as u64;
                    state.pending.advance(bytes.len());
                    if !close {
                        continue;
                    }
                    state.over = Some(Ok(()));
                }
                Err(Error::Io { cause, .. }) => state.over = Some(Err((cause.kind(), cause.to_string()))),
                Err(error) => state.over = Some(Err((io::ErrorKind::Other, error.to_string()))),
            }
            state.pending = BytesMut::new();
            return;
        }
    }

    /// What is to be delivered next, and whether the input is closed behind it.
    async fn next(&self) -> (Bytes, bool) {
        loop {
            {
                let state = self.shared.state.lock();
                if !state.pending.is_empty() || state.closed {
                    let count = state.pending.len().min(CHUNK);
                    let is_last = state.closed && count == state.pending.len();
                    return (Bytes::copy_from_slice(&state.pending[..count]), is_last);
                }
            }
            self.shared.wanted.notified().await;
        }
    }

    async fn give(&self, offset: u64, bytes: &Bytes, close: bool) -> Result<(), Error> {
        let call = Call::Input { id: self.id, offset, close };
        // There is no time in which a process must read.
        let ((), _) = self.link.converse(&call, None, || Box::pin(stream::iter([Ok(bytes.clone())]))).await?;
        Ok(())
    }
}
