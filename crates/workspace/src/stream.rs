//! Byte streams to a place that is elsewhere.

use std::{fmt, io};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Bytes in both directions.
pub type Stream = Box<dyn Duplex>;

/// Opens streams to one [`crate::boxd`].
#[async_trait]
pub trait Connect: fmt::Debug + Send + Sync {
    /// A new stream. The ones before it may have broken, or not.
    ///
    /// # Errors
    /// What the system says; the message stands in the error of whoever wanted to use the place.
    async fn connect(&self) -> io::Result<Stream>;
}
