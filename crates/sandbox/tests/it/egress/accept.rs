//! From a box's connections to its proxy.

use std::{io, sync::Arc};

use async_trait::async_trait;
use longshore_sandbox::egress::{Acceptor, run};
use longshore_workspace::{Error, Reader, Writer};
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::program::{DEADLINE, Program, head, rest};

/// What a box answers when it is asked for a connection.
type Accepted = Result<DuplexStream, io::ErrorKind>;

/// A box whose connections the test makes.
struct Connections(Mutex<mpsc::UnboundedReceiver<Accepted>>);

#[async_trait]
impl Acceptor for Connections {
    async fn accept(&self) -> Result<(Reader, Writer), Error> {
        match self.0.lock().await.recv().await.expect("the test goes on") {
            Ok(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                Ok((Box::pin(reader), Box::pin(writer)))
            }
            Err(kind) => Err(Error::Io { what: "accept".to_owned(), cause: kind.into() }),
        }
    }
}

struct Running {
    connections: mpsc::UnboundedSender<Accepted>,
    cancel: CancellationToken,
    ended: JoinHandle<Result<(), Error>>,
}

fn start(program: &Program) -> Running {
    let (connections, receiver) = mpsc::unbounded_channel();
    let (proxy, cancel) = (Arc::clone(&program.proxy), CancellationToken::new());
    let token = cancel.clone();
    let ended = tokio::spawn(async move { run(&Connections(Mutex::new(receiver)), &proxy, &token).await });
    Running { connections, cancel, ended }
}

impl Running {
    fn open(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1024);
        self.connections.send(Ok(far)).expect("it runs");
        near
    }

    async fn is_served(&self) {
        let mut stream = self.open();
        stream.write_all(b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n").await.expect("a listener");
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 403 "));
    }
}

#[tokio::test]
async fn connections_are_served_beside_each_other_and_after_errors() {
    let running = start(&Program::new(&[]));
    let _silent: Vec<_> = (0..20).map(|_| running.open()).collect();
    running.is_served().await;
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::TimedOut, io::ErrorKind::Other] {
        running.connections.send(Err(kind)).expect("it runs");
    }
    running.is_served().await;
    running.cancel.cancel();
    running.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn cancelling_breaks_everything_off() {
    let running = start(&Program::new(&[]));
    let mut streams: Vec<_> = (0..20).map(|_| running.open()).collect();
    running.is_served().await;
    running.cancel.cancel();
    running.ended.await.unwrap().unwrap();
    for stream in &mut streams {
        assert!(rest(stream).await.is_empty());
    }
}

#[tokio::test]
async fn it_ends_with_its_box() {
    let running = start(&Program::new(&[]));
    let mut stream = running.open();
    running.is_served().await;
    running.connections.send(Err(io::ErrorKind::NotConnected)).expect("it runs");
    let ended = tokio::time::timeout(DEADLINE, running.ended).await.expect("an end in time");
    assert!(matches!(ended.unwrap(), Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotConnected));
    assert!(rest(&mut stream).await.is_empty());
}
