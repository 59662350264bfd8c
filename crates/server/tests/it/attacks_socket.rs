//! Frames that no decent client sends.

use std::time::Duration;

use longshore_server::{Limits, Options};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::server::{PATIENCE, TestServer, answer};

const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client without manners.
struct RawSocket(TcpStream);

impl RawSocket {
    async fn open(server: &TestServer) -> Self {
        let conversation = server.create("m", json!({})).await;
        let path = crate::agents::events_path(&conversation, "");
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        let mut socket = Self(stream);
        assert_eq!(socket.next().await.unwrap().0, TEXT, "the state comes first");
        socket
    }

    /// Sends the head of a frame as it is, and its content under a mask of zeros.
    async fn send(&mut self, head: u8, content: &[u8]) {
        let mut frame = vec![head];
        match content.len() {
            length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..0x1_0000 => {
                frame.push(0xfe);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                frame.push(0xff);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(content);
        // The server may have hung up.
        let _ = self.0.write_all(&frame).await;
    }

    /// The next frame: its kind and content. None once the server has hung up.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let kind = self.0.read_u8().await? & 0x0f;
            let length = match self.0.read_u8().await? {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                length => u64::from(length),
            };
            let mut content = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut content).await?;
            Ok::<_, std::io::Error>((kind, content))
        };
        timeout(PATIENCE, read).await.expect("the server says something").ok()
    }

    /// Waits until the server ends it.
    async fn end(mut self, why: &str) {
        while let Some((kind, content)) = self.next().await {
            match kind {
                CLOSE => return,
                PING | PONG => {}
                _ => panic!("{why} is answered with {}", String::from_utf8_lossy(&content)),
            }
        }
    }

    /// Whether the server still listens.
    async fn is_heard(&mut self) -> bool {
        self.send(0x80 | PING, b"still there?").await;
        while let Some((kind, content)) = self.next().await {
            if kind == PONG && content == b"still there?" {
                return true;
            }
        }
        false
    }
}

#[tokio::test]
async fn frames_against_the_rules_end_their_own_socket_only() {
    let server = TestServer::start().await;
    let mut decent = RawSocket::open(&server).await;
    for (name, frames) in [
        ("a reserved bit", vec![(0xc0 | TEXT, &b"x"[..])]),
        ("an unknown kind", vec![(0x83, b"x")]),
        ("an unknown control", vec![(0x8b, b"x")]),
        ("a continuation of nothing", vec![(0x80 | CONTINUATION, b"x")]),
        ("a text within a text", vec![(TEXT, b"x"), (0x80 | TEXT, b"y")]),
        ("a ping in pieces", vec![(PING, b"x")]),
        ("a ping that is too long", vec![(0x80 | PING, &[b'x'; 126][..])]),
        ("a text that is none", vec![(0x80 | TEXT, b"\xff\xfe")]),
        ("a goodbye with half a code", vec![(0x80 | CLOSE, b"\x03")]),
        ("a goodbye with no such code", vec![(0x80 | CLOSE, b"\x00\x01")]),
    ] {
        let mut socket = RawSocket::open(&server).await;
        for (head, content) in frames {
            socket.send(head, content).await;
        }
        socket.end(name).await;
    }
    let mut unmasked = RawSocket::open(&server).await;
    unmasked.0.write_all(&[0x80 | TEXT, 1, b'x']).await.unwrap();
    unmasked.end("a frame without a mask").await;
    let mut endless = RawSocket::open(&server).await;
    endless
        .0
        .write_all(&[0x80 | TEXT, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        .await
        .unwrap();
    endless.end("a frame of many exabytes").await;
    assert!(decent.is_heard().await);
    server.stop().await;
}

#[tokio::test]
async fn messages_may_be_large_and_in_pieces_but_not_without_end() {
    let server = TestServer::start().await;
    let mut socket = RawSocket::open(&server).await;
    let text = json!({"role": "nobody", "content": [{"type": "text", "text": "x".repeat(1_000_000)}]}).to_string();
    let pieces: Vec<_> = text.as_bytes().chunks(1000).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let kind = if index == 0 { TEXT } else { CONTINUATION };
        let end = if index + 1 == pieces.len() { 0x80 } else { 0 };
        socket.send(end | kind, piece).await;
        if index == 1 {
            assert!(socket.is_heard().await, "controls may come between pieces");
        }
    }
    let (_, told) = socket.next().await.unwrap();
    assert!(String::from_utf8(told).unwrap().contains("ValidationError"));

    let mut endless = RawSocket::open(&server).await;
    endless.send(TEXT, b"[").await;
    for _ in 0..20 {
        endless.send(CONTINUATION, &vec![b'['; 1 << 20]).await;
    }
    endless.end("a message of 20 MiB").await;
    let mut large = RawSocket::open(&server).await;
    large.send(0x80 | TEXT, &vec![b'['; 17 << 20]).await;
    large.end("a frame of 17 MiB").await;
    assert!(socket.is_heard().await);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_controls_is_taken_or_ended() {
    let server = TestServer::start().await;
    let mut decent = RawSocket::open(&server).await;
    let mut flooding = RawSocket::open(&server).await;
    let mut flood = Vec::new();
    for _ in 0..50_000 {
        flood.extend_from_slice(&[0x80 | PING, 0x80 | 4, 0, 0, 0, 0, b'p', b'i', b'n', b'g']);
    }
    // Nothing is read meanwhile, so the server's answers have nowhere to go.
    let _ = timeout(Duration::from_secs(2), flooding.0.write_all(&flood)).await;
    assert!(decent.is_heard().await, "others are not held up");
    drop(flooding);
    assert!(decent.is_heard().await);
    server.stop().await;
}

#[tokio::test]
async fn sockets_count_among_the_connections_that_may_be_open() {
    let server =
        TestServer::with(Options { limits: Limits { connections: 2, ..Limits::default() }, ..Options::default() }, &[])
            .await;
    let one = server.socket("/sockets/bash-events").await;
    let _other = server.socket("/sockets/bash-events").await;
    let third = tokio::spawn(answer(server.get("/health")));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!third.is_finished(), "there is no room");
    drop(one);
    assert_eq!(timeout(PATIENCE, third).await.unwrap().unwrap().0, 200);
    server.stop().await;
}
