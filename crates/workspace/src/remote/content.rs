//! Readers that go on where they were after the connection broke.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::io::StreamReader;

use super::{link::Link, patience::Patience};
use crate::{
    Error, Reader,
    wire::{Ending, Failure, Incoming},
};

/// Where bytes come from.
pub(super) trait Source: Send + 'static {
    /// Asks for the bytes from `offset` on.
    fn open(&mut self, link: &Arc<Link>, offset: u64) -> impl Future<Output = Result<Incoming, Error>> + Send;

    /// How long the next bytes may take, if there is a limit.
    fn time(&self, link: &Link) -> Option<Duration>;

    /// The bytes came to their regular end.
    fn ended(&mut self) {}
}

/// The bytes of a source, of which `incoming` are those from `offset` on if there are any yet.
pub(super) fn reader(link: Arc<Link>, source: impl Source, incoming: Option<Incoming>, offset: u64) -> Reader {
    let content = Content { link, source, incoming, offset };
    let pieces = stream::unfold(content, async |mut content| Some((content.next().await.transpose()?, content)));
    shared(pieces)
}

/// A reader of pieces, whose stream need not be one that threads can share.
pub(super) fn shared(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Reader {
    Box::pin(StreamReader::new(Shared(Mutex::new(Box::pin(pieces.fuse())))))
}

struct Shared(Mutex<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>>);

impl Stream for Shared {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.0.get_mut().as_mut().poll_next(cx)
    }
}

struct Content<S> {
    link: Arc<Link>,
    source: S,
    incoming: Option<Incoming>,
    /// How much was read in all.
    offset: u64,
}

impl<S: Source> Content<S> {
    /// The next bytes. After an error it may be called again, and tries again.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let time = self.source.time(&self.link);
        let mut patience = Patience::new(self.link.patience(), time);
        loop {
            let incoming = if let Some(incoming) = &mut self.incoming {
                incoming
            } else {
                let opened = self.source.open(&self.link, self.offset).await.map_err(io::Error::other)?;
                self.incoming.insert(opened)
            };
            let began = Instant::now();
            let next = match time {
                None => incoming.next().await,
                Some(time) => timeout(time, incoming.next()).await.unwrap_or_else(|_| {
                    let late = format!("nothing came within {time:?}");
                    Err(Ending::Failed(Failure::io("read", &io::Error::new(io::ErrorKind::TimedOut, late))))
                }),
            };
            match next {
                Ok(Some(bytes)) => {
                    self.offset += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => {
                    self.source.ended();
                    return Ok(None);
                }
                Err(Ending::Failed(failure)) => {
                    self.incoming = None;
                    if let Failure::Lost { kept } = failure {
                        self.offset = self.offset.max(kept);
                    }
                    return Err(failure.into_io());
                }
                Err(Ending::Cut(cause)) => {
                    self.incoming = None;
                    if !patience.is_left(began).await {
                        return Err(io::Error::other(Error::Unreachable { cause }));
                    }
                }
            }
        }
    }
}
