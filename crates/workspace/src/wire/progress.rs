//! How far a reader is: numbers of eight bytes, of which the last one counts.
//!
//! HTTP/2 bounds the bytes that are under way, but not what small parts cost whoever has not read them yet. A reader of a
//! process's output says what it has read, and no more than a few parts are sent ahead of that: what comes meanwhile is sent
//! as one.

use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream;
use tokio::sync::watch;

use super::{Content, Incoming};

/// How much may be under way to a reader, in bytes and in parts.
pub(crate) const AHEAD: (u64, usize) = (256 << 10, 32);

/// After how much a reader says so, in bytes and in parts: well before nothing comes any more.
pub(crate) const TELL: (u64, usize) = (64 << 10, 8);

/// Tells `progress` whenever it changes.
pub(crate) fn tell(progress: watch::Receiver<u64>) -> Content {
    Box::pin(stream::unfold(progress, async |mut progress| {
        progress.changed().await.ok()?;
        let number = *progress.borrow_and_update();
        Some((Ok(Bytes::copy_from_slice(&number.to_be_bytes())), progress))
    }))
}

/// What a reader tells.
pub(crate) struct Progress {
    told: Incoming,
    partial: BytesMut,
}

impl Progress {
    pub(crate) fn new(told: Incoming) -> Self {
        Self { told, partial: BytesMut::new() }
    }

    /// The next number; never, if there is none.
    pub(crate) async fn next(&mut self) -> u64 {
        loop {
            if self.partial.len() >= 8 {
                let last = self.partial.len() / 8 - 1;
                self.partial.advance(8 * last);
                return self.partial.get_u64();
            }
            match self.told.next().await {
                Ok(Some(bytes)) => self.partial.extend_from_slice(&bytes),
                // If the connection broke, the answer breaks off as well.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }
}
