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
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::io::StreamReader;

use super::{link::Link, patience::Patience};
use crate::{
    Error, Reader,
    wire::{Ending, Failure, Incoming, progress::TELL},
};

/// Where bytes come from.
pub(super) trait Source: Send + 'static {
    /// Asks for the bytes from `offset` on.
    fn open(&mut self, link: &Arc<Link>, offset: u64) -> impl Future<Output = Result<Opened, Error>> + Send;

    /// How long the next bytes may take, if there is a limit.
    fn time(&self, link: &Link) -> Option<Duration>;

    /// The bytes came to their regular end.
    fn ended(&mut self) {}
}

/// Bytes that come.
pub(super) struct Opened {
    pub(super) incoming: Incoming,
    /// Where to tell how much was read, if somebody wants to know.
    pub(super) progress: Option<watch::Sender<u64>>,
}

/// The bytes of a source, which is open already or will be.
pub(super) fn reader(link: Arc<Link>, source: impl Source, opened: Option<Opened>) -> Reader {
    let content = Content { link, source, opened, offset: 0, untold: (0, 0) };
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
    opened: Option<Opened>,
    /// How much was read in all.
    offset: u64,
    /// How much of it was not told, in bytes and in parts.
    untold: (u64, usize),
}

impl<S: Source> Content<S> {
    /// The next bytes. After an error it may be called again, and tries again.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let time = self.source.time(&self.link);
        let mut patience = Patience::new(self.link.patience(), time);
        loop {
            let opened = if let Some(opened) = &mut self.opened {
                opened
            } else {
                let opened = self.source.open(&self.link, self.offset).await.map_err(io::Error::other)?;
                self.untold = (0, 0);
                self.opened.insert(opened)
            };
            let incoming = &mut opened.incoming;
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
                    self.offset = self.offset.saturating_add(bytes.len() as u64);
                    self.tell(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                Ok(None) => {
                    self.source.ended();
                    return Ok(None);
                }
                Err(Ending::Failed(failure)) => {
                    self.opened = None;
                    if let Failure::Lost { kept } = failure {
                        self.offset = self.offset.max(kept);
                    }
                    return Err(failure.into_io());
                }
                Err(Ending::Cut(cause)) => {
                    self.opened = None;
                    if !patience.is_left(began).await {
                        return Err(io::Error::other(Error::Unreachable { cause }));
                    }
                }
            }
        }
    }
    /// Tells from time to time how much was read.
    fn tell(&mut self, read: u64) {
        self.untold = (self.untold.0 + read, self.untold.1 + 1);
        if let Some(Opened { progress: Some(progress), .. }) = &self.opened
            && (self.untold.0 >= TELL.0 || self.untold.1 >= TELL.1)
        {
            progress.send_replace(self.offset);
            self.untold = (0, 0);
        }
    }
}
