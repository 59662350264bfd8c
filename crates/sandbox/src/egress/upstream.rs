//! A connection to a host.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

use super::{Ledger, host::Target};

/// A connection to a host, which counts its bytes and tells them when it is dropped.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: TcpStream,
    target: Target,
    ledger: Arc<dyn Ledger>,
    up: u64,
    down: u64,
    /// One of the connections that the box may have.
    _turn: OwnedSemaphorePermit,
}

impl Upstream {
    pub(super) fn new(
        stream: TcpStream,
        target: &Target,
        ledger: Arc<dyn Ledger>,
        turn: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let address: SocketAddr = stream.peer_addr()?;
        let host = target.host.to_string();
        tracing::debug!(%host, port = target.port, %address, "a box is connected");
        ledger.connected(&host, target.port, address);
        Ok(Self { stream, target: target.clone(), ledger, up: 0, down: 0, _turn: turn })
    }

    fn sent(&mut self, count: usize) -> usize {
        self.up += count as u64;
        count
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let Self { up, down, .. } = *self;
        let host = self.target.host.to_string();
        tracing::debug!(%host, port = self.target.port, up, down, "a box's connection ended");
        self.ledger.closed(&host, self.target.port, up, down);
    }
}

impl AsyncRead for Upstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.down += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        Poll::Ready(Ok(self.sent(count)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(self.sent(count)))
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
