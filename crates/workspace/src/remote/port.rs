//! Bytes in both directions at once: uploads, and connections.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, stream};
use serde::de::DeserializeOwned;
use tokio::{io::AsyncWrite, runtime::Handle, sync::mpsc, time::timeout};
use tokio_util::sync::PollSender;

use super::{content, link::Link};
use crate::{
    Error, Reader, Writer,
    wire::{Call, Content, Ending, Incoming, Piece},
};

/// How many parts wait to be sent.
const MAX_PARTS: usize = 2;

/// How long the other side of a connection gets to take what was said last.
const LINGER: Duration = Duration::from_secs(5);

/// The largest part.
const CHUNK: usize = 256 << 10;

pub(super) async fn dial(link: &Arc<Link>, port: u16) -> Result<(Reader, Writer), Error> {
    let ((), upload, incoming) = upload(link, &Call::Dial { port }, Some(link.answer_timeout())).await?;
    Ok(connection(upload, incoming))
}

/// The next connection to the proxy's port.
pub(super) async fn accept(link: &Arc<Link>) -> Result<(Reader, Writer), Error> {
    let ((), upload, incoming) = upload(link, &Call::Accept, None).await?;
    Ok(connection(upload, incoming))
}

/// Both halves of a connection that bytes in both directions are.
fn connection(upload: Upload, incoming: Incoming) -> (Reader, Writer) {
    let pieces = stream::unfold(Answers(Some(incoming)), async |mut answers| {
        let piece = match answers.0.as_mut()?.next().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => {
                answers.0 = None;
                return None;
            }
            Err(Ending::Failed(failure)) => Err(failure.into_io()),
            Err(Ending::Cut(cause)) => Err(io::Error::new(io::ErrorKind::ConnectionReset, cause)),
        };
        Some((piece, answers))
    });
    let Upload { parts, finished } = upload;
    (content::shared(pieces), Box::pin(Half { parts: PollSender::new(parts), finished }))
}

/// What comes from a connection. Whoever stops to read may have said something last, which the end of the whole exchange would
/// swallow, so that waits until the other side has ended, too, or for [`LINGER`].
struct Answers(Option<Incoming>);

impl Drop for Answers {
    fn drop(&mut self) {
        let (Some(mut incoming), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        runtime.spawn(timeout(LINGER, async move { while let Ok(Some(_)) = incoming.next().await {} }));
    }
}

/// Makes a call that is followed by bytes, which go in here; the answer comes soon if `time` says so.
pub(super) async fn upload<T: DeserializeOwned>(
    link: &Arc<Link>,
    call: &Call,
    time: Option<Duration>,
) -> Result<(T, Upload, Incoming), Error> {
    let mut current = None;
    let content = || {
        let (parts, received) = mpsc::channel(MAX_PARTS);
        let finished = Arc::new(AtomicBool::new(false));
        current = Some(Upload { parts, finished: finished.clone() });
        Box::pin(Sent { parts: received, finished }) as Content
    };
    let (answer, incoming) = link.converse(call, time, content).await?;
    let upload = current.ok_or_else(|| Error::io("ask the place", io::Error::other("nothing was sent")))?;
    Ok((answer, upload, incoming))
}

/// Bytes on their way. Dropping this before they are finished cuts them off.
pub(super) struct Upload {
    parts: mpsc::Sender<Bytes>,
    finished: Arc<AtomicBool>,
}

impl Upload {
    /// Sends a part, as soon as there is room. Says whether somebody takes it.
    pub(super) async fn send(&self, bytes: Bytes) -> bool {
        self.parts.send(bytes).await.is_ok()
    }

    /// There are no more.
    pub(super) fn finish(&mut self) {
        self.finished.store(true, Ordering::Release);
        // Whoever receives learns it from the end of the channel.
        (self.parts, _) = mpsc::channel(1);
    }
}

/// What is sent.
struct Sent {
    parts: mpsc::Receiver<Bytes>,
    finished: Arc<AtomicBool>,
}

impl Stream for Sent {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let part = ready!(self.parts.poll_recv(cx));
        Poll::Ready(match part {
            Some(bytes) => Some(Ok(bytes)),
            None if self.finished.load(Ordering::Acquire) => None,
            None => Some(Err(Ending::Cut(io::Error::other("it was given up")))),
        })
    }
}

/// The half of a connection that takes bytes. Dropping it closes it in order.
struct Half {
    parts: PollSender<Bytes>,
    finished: Arc<AtomicBool>,
}

impl AsyncWrite for Half {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.parts.poll_reserve(cx)).map_err(|_| closed())?;
        let count = bytes.len().min(CHUNK);
        self.parts.send_item(Bytes::copy_from_slice(&bytes[..count])).map_err(|_| closed())?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished.store(true, Ordering::Release);
        self.parts.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.finished.store(true, Ordering::Release);
    }
}
