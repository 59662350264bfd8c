//! The first words of a connection to a server with TLS.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{Tls, patient::Patient};

/// What a client hears that speaks plain HTTP to a server with TLS.
const SPEAK_TLS: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 73\r\n\
    Connection: close\r\n\r\n{\"detail\":\"This server speaks TLS only. Call it with https:// or wss://\"}";

/// Bytes that are read of such a client before the connection is closed.
const DRAINED: u64 = 64 << 10;

/// Agrees with a client on TLS. None for one that speaks plain HTTP, which is told what to do, and for an authority that only
/// wanted to see that the server has its name.
pub(crate) async fn greet(mut stream: TcpStream, stall: Duration, tls: &Tls) -> io::Result<Option<TlsStream<Patient>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        stream.write_all(SPEAK_TLS.as_bytes()).await?;
        stream.shutdown().await?;
        // A connection that is closed with something unread would lose the answer.
        tokio::io::copy(&mut stream.take(DRAINED), &mut tokio::io::sink()).await?;
        return Ok(None);
    }
    let stream = tls.acceptor.accept(Patient::new(stream, stall)).await?;
    let protocol = stream.get_ref().1.alpn_protocol();
    Ok(protocol.is_none_or(|protocol| protocol == b"http/1.1").then_some(stream))
}
