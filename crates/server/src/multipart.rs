//! The file in a `multipart/form-data` body, as it arrives.
//!
//! Bytes of the file are handed on in the pieces in which they came from the connection, without a copy, whatever the
//! file's size. Only what may be the beginning of a boundary waits for the next piece.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use futures::StreamExt;
use memchr::memmem;
use tokio::time::timeout;

use crate::protect::TooSlow;

/// Bytes that the headers of one part may have.
const LARGEST_HEADERS: usize = 16 << 10;

/// The longest boundary that the standard allows.
const LONGEST_BOUNDARY: usize = 70;

/// How much, and how long, is read of a form that nobody wants any more.
const DRAINED: u64 = 1 << 30;
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// A form that is being read.
pub(crate) struct Form {
    body: axum::body::BodyDataStream,
    /// What was read and not yet given out.
    rest: Bytes,
    /// Bytes that were read, and that may be.
    read: u64,
    most: u64,
    /// A line break, two hyphens and the boundary: what ends a part.
    delimiter: memmem::Finder<'static>,
}

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// There is no such part.
    #[error("the form has no part of this name")]
    NoSuchPart,
    /// It is no form, or it breaks the rules.
    #[error("the body is not a valid multipart form: {0}")]
    Malformed(&'static str),
    /// The client sends too slowly.
    #[error("{0}")]
    TooSlow(TooSlow),
    /// It has more bytes than it may.
    #[error("The upload is larger than {0} bytes, the most that this server takes")]
    TooLarge(u64),
    /// The connection ended too early.
    #[error("the connection broke while the form was read")]
    Broken,
}

impl Form {
    /// The form in a body, of which at most `most` bytes are read, if the headers say that it is one.
    pub(crate) fn new(headers: &HeaderMap, body: Body, most: u64) -> Result<Self, FormError> {
        let boundary = headers.get(CONTENT_TYPE).and_then(|kind| boundary(kind.to_str().ok()?));
        let boundary = boundary.ok_or(FormError::NoSuchPart)?;
        let delimiter = memmem::Finder::new(&format!("\r\n--{boundary}")).into_owned();
        // The first boundary has no line break of its own.
        Ok(Self { body: body.into_data_stream(), rest: Bytes::from_static(b"\r\n"), read: 0, most, delimiter })
    }

    /// Goes to the beginning of the part of this name. What comes before it is thrown away.
    pub(crate) async fn find_part(&mut self, name: &str) -> Result<(), FormError> {
        loop {
            while self.chunk().await?.is_some() {}
            let Some(headers) = self.headers().await? else { return Err(FormError::NoSuchPart) };
            if is_named(&headers, name) {
                return Ok(());
            }
        }
    }

    /// The next piece of the part; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, FormError> {
        loop {
            if let Some(end) = self.delimiter.find(&self.rest) {
                if end == 0 {
                    return Ok(None);
                }
                return Ok(Some(self.rest.split_to(end)));
            }
            let undecided = possible_start(&self.rest, self.delimiter.needle());
            let sure = self.rest.len() - undecided;
            if sure > 0 {
                return Ok(Some(self.rest.split_to(sure)));
            }
            self.read().await?;
        }
    }

    /// Reads the rest and throws it away, within limits.
    pub(crate) async fn drain(mut self) {
        let _ = timeout(DRAIN_PATIENCE, async {
            let mut drained = 0;
            while let Some(Ok(piece)) = self.body.next().await {
                drained += piece.len() as u64;
                if drained > DRAINED {
                    break;
                }
            }
        })
        .await;
    }

    /// Reads what follows a boundary: the headers of the next part, or none if it was the last.
    async fn headers(&mut self) -> Result<Option<Bytes>, FormError> {
        let delimiter = self.delimiter.needle().len();
        while self.rest.len() < delimiter + 2 {
            self.read().await?;
        }
        let after = self.rest.slice(delimiter..);
        if after.starts_with(b"--") {
            return Ok(None);
        }
        loop {
            // Headers may be absent; then the empty line that ends them follows the boundary's own line break.
            if let Some(end) = memmem::find(&self.rest[delimiter..], b"\r\n\r\n") {
                let mut headers = self.rest.split_to(delimiter + end + 4);
                return Ok(Some(headers.split_off(delimiter)));
            }
            if self.rest.len() > LARGEST_HEADERS {
                return Err(FormError::Malformed("the headers of a part are too long"));
            }
            self.read().await?;
        }
    }

    /// Appends the next piece of the body to what was read.
    async fn read(&mut self) -> Result<(), FormError> {
        let piece = match self.body.next().await {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Err(TooSlow::behind(&error).map_or(FormError::Broken, FormError::TooSlow)),
            None => return Err(FormError::Malformed("it ends before its last boundary")),
        };
        self.read += piece.len() as u64;
        if self.read > self.most {
            return Err(FormError::TooLarge(self.most));
        }
        if self.rest.is_empty() {
            self.rest = piece;
        } else {
            self.rest = [&self.rest[..], &piece].concat().into();
        }
        Ok(())
    }
}

/// How many bytes at the end of `bytes` may be the beginning of `needle`.
fn possible_start(bytes: &[u8], needle: &[u8]) -> usize {
    let most = bytes.len().min(needle.len() - 1);
    let tail = &bytes[bytes.len() - most..];
    // A boundary has one line break, at its beginning, so only such a byte can begin one.
    memchr::memchr_iter(b'\r', tail)
        .map(|start| &tail[start..])
        .find(|candidate| needle.starts_with(candidate))
        .map_or(0, <[u8]>::len)
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|boundary| (1..=LONGEST_BOUNDARY).contains(&boundary.len()))
}

fn is_named(headers: &[u8], name: &str) -> bool {
    String::from_utf8_lossy(headers).lines().any(|line| {
        let Some((header, value)) = line.split_once(':') else { return false };
        header.trim().eq_ignore_ascii_case("content-disposition") && parameter(value, "name") == Some(name)
    })
}

/// The value of a parameter in `a; name="value"; b=c`.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (key, value) = match rest.find([';', '=']) {
            Some(at) if rest.as_bytes()[at] == b'=' => (rest[..at].trim(), &rest[at + 1..]),
            Some(at) => {
                rest = &rest[at + 1..];
                continue;
            }
            None => return None,
        };
        let (value, after) = match value.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(';').map_or((value.trim(), ""), |(value, after)| (value.trim(), after)),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.trim_start().trim_start_matches(';');
    }
    None
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn file(content_type: &str, body: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let pieces: Vec<_> =
            body.chunks(piece).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        let mut form =
            Form::new(&headers, Body::from_stream(stream::iter(pieces)), 1 << 20).map_err(|error| error.to_string())?;
        form.find_part("file").await.map_err(|error| error.to_string())?;
        let mut content = Vec::new();
        while let Some(chunk) = form.chunk().await.map_err(|error| error.to_string())? {
            assert!(!chunk.is_empty());
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    #[tokio::test]
    async fn a_file_does_not_depend_on_how_it_arrives() {
        let kind = "multipart/form-data; charset=x; boundary=\"AaB\"";
        for content in
            [&b""[..], b"x", b"\r\n", b"\r\n--Aa", b"\r\n--Aa\r\n--A\r\r\n-", b"a\r\n--AaC--AaB\r", &[0xff; 300]]
        {
            let mut body =
                b"preamble\r\n--AaB\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n\r\n--Aab\r\n".to_vec();
            body.extend_from_slice(
                b"\r\n--AaB\r\ncontent-disposition: form-data; filename=\"a;b\"; name=\"file\"\r\nX: y\r\n\r\n",
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n--AaB--\r\n");
            for piece in (1..=40).chain([body.len()]) {
                assert_eq!(file(kind, &body, piece).await.as_deref(), Ok(content), "in pieces of {piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_form_or_ends_too_early_is_an_error() {
        let kind = "multipart/form-data; boundary=b";
        let part = b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\nabc";
        for (kind, body) in [
            ("application/json", &b"{}"[..]),
            ("multipart/form-data", b""),
            (kind, b""),
            (kind, b"--b--"),
            (kind, b"--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nabc\r\n--b--"),
            (kind, part),
            (kind, &[b"--b\r\n".to_vec(), vec![b'x'; LARGEST_HEADERS + 1]].concat()),
        ] {
            for piece in [1, 7, 100_000] {
                file(kind, body, piece).await.unwrap_err();
            }
        }
    }
}
