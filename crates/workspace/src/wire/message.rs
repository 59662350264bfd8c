//! A head as JSON, then bytes, then how they ended.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::Stream;
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
    header::{HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Failure;

/// The trailer that says how the bytes ended: empty for their regular end, else why there are no more.
const END: HeaderName = HeaderName::from_static("end");

/// The longest trailer; HTTP/2 wants all of a header in 16 KiB.
const MAX_END: usize = 12 << 10;

/// The bytes that follow a head. Their regular end is that there are no more.
pub(crate) type Content = Pin<Box<dyn Stream<Item = Piece> + Send>>;

/// A part of the bytes, or why there are no more.
pub(crate) type Piece = Result<Bytes, Ending>;

/// Why bytes ended before their regular end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Whoever sends them says so.
    Failed(Failure),
    /// They were cut off.
    Cut(io::Error),
}

/// A message on its way out.
pub(crate) struct Message {
    head: Option<Bytes>,
    content: Option<Content>,
}

impl Message {
    /// A message with nothing behind its head.
    pub(crate) fn short(head: &impl Serialize) -> Self {
        Self { head: Some(encode(head)), content: None }
    }

    /// A message with bytes behind its head.
    pub(crate) fn long(head: &impl Serialize, content: Content) -> Self {
        Self { head: Some(encode(head)), content: Some(content) }
    }

    /// How long its head is.
    pub(crate) fn head_len(&self) -> usize {
        self.head.as_ref().map_or(0, Bytes::len)
    }
}

/// A length and JSON.
fn encode(head: &impl Serialize) -> Bytes {
    let mut bytes = vec![0; 4];
    // Our own types are always JSON; were one not, the other end says that it does not understand.
    let _ = serde_json::to_writer(&mut bytes, head);
    let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes.into()
}

impl Body for Message {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let Some(content) = &mut self.content else { return Poll::Ready(None) };
        let end = match std::task::ready!(content.as_mut().poll_next(cx)) {
            Some(Ok(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => trailer(None),
            Some(Err(Ending::Failed(failure))) => trailer(Some(&failure)),
            Some(Err(Ending::Cut(cause))) => Err(cause),
        };
        self.content = None;
        Poll::Ready(Some(end))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Without a length, so that none is sent.
        SizeHint::new()
    }
}

fn trailer(failure: Option<&Failure>) -> io::Result<Frame<Bytes>> {
    let encoded = failure.map_or_else(Vec::new, |failure| serde_json::to_vec(failure).unwrap_or_default());
    let mut value = BASE64_STANDARD_NO_PAD.encode(encoded);
    if value.len() > MAX_END {
        let short = Failure::refused("go on", "the reason is too long to be told");
        value = BASE64_STANDARD_NO_PAD.encode(serde_json::to_vec(&short).unwrap_or_default());
    }
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(END, HeaderValue::try_from(value).map_err(io::Error::other)?);
    Ok(Frame::trailers(trailers))
}

/// A message on its way in, whose head was read.
pub(crate) struct Incoming {
    body: hyper::body::Incoming,
    /// What came in one piece with the head.
    first: Bytes,
    ended: bool,
}

impl Incoming {
    /// Reads a message's head, of at most `limit` bytes.
    pub(crate) async fn read<T: DeserializeOwned>(
        mut body: hyper::body::Incoming,
        limit: usize,
    ) -> io::Result<(T, Self)> {
        let mut bytes = BytesMut::new();
        let len = loop {
            if let Some(len) = bytes.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
                if len > limit {
                    return Err(invalid(format!("a head of {len} bytes is longer than {limit}")));
                }
                if bytes.len() >= 4 + len {
                    break len;
                }
            }
            let frame = body.frame().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)?;
            let data = frame.into_data().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            bytes.extend_from_slice(&data);
        };
        let head = bytes.split_to(4 + len);
        let head =
            serde_json::from_slice(&head[4..]).map_err(|cause| invalid(format!("a head makes no sense: {cause}")))?;
        let first = if bytes.is_empty() { Bytes::new() } else { bytes.freeze() };
        Ok((head, Self { body, first, ended: false }))
    }

    /// The next part of the bytes; nothing after their regular end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Ending> {
        if self.first.has_remaining() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        if self.ended {
            return Ok(None);
        }
        loop {
            let Some(frame) = self.body.frame().await else {
                return Err(Ending::Cut(io::ErrorKind::UnexpectedEof.into()));
            };
            match frame.map_err(|cause| Ending::Cut(io::Error::other(cause)))?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(trailers) => {
                    let trailers = trailers.into_trailers().unwrap_or_default();
                    read_trailer(&trailers)?;
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
    }
}

fn read_trailer(trailers: &HeaderMap) -> Result<(), Ending> {
    let value = trailers.get(END).ok_or_else(|| Ending::Cut(io::ErrorKind::UnexpectedEof.into()))?;
    if value.is_empty() {
        return Ok(());
    }
    let nonsense = || Ending::Cut(invalid("the end makes no sense"));
    let json = BASE64_STANDARD_NO_PAD.decode(value).map_err(|_| nonsense())?;
    Err(Ending::Failed(serde_json::from_slice(&json).map_err(|_| nonsense())?))
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}
