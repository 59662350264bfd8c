//! A program's connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use longshore_workspace::Stream;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

/// A program's connection, which knows when something last passed over it.
///
/// All that a program and a host say to each other passes here, so this is also where it shows that they say nothing.
pub(super) struct Client {
    stream: Stream,
    /// What was read to see which protocol the program speaks.
    first: Option<u8>,
    activity: Activity,
}

impl Client {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, first: None, activity: Activity::new() }
    }

    /// The first byte, which is read again later; nothing if there is none.
    pub(super) async fn peek(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        if self.read(&mut byte).await? == 1 {
            self.first = Some(byte[0]);
        }
        Ok(self.first)
    }

    pub(super) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    fn passed(&self, count: usize) -> usize {
        if count > 0 {
            self.activity.touch();
        }
        count
    }
}

/// When something last passed.
#[derive(Clone)]
pub(super) struct Activity {
    began: Instant,
    /// In milliseconds after the beginning.
    last: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }

    fn touch(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until nothing has passed for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let deadline = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.passed(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        Poll::Ready(Ok(self.passed(count)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(self.passed(count)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
