//! Connections: from the listener to the routes, and their end.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{Server, patient::Patient};

/// How long a connection may be without a request, and how long the head of one may take. Longer than clients keep
/// idle connections, so that none is closed under a request.
const IDLE_PATIENCE: Duration = Duration::from_secs(75);

/// How long a client may take nothing of an answer.
const STALL_PATIENCE: Duration = Duration::from_mins(2);

/// How long requests may go on after the server was told to stop.
const GRACE: Duration = Duration::from_millis(1600);

/// How long to wait when the system has no room for another connection.
const RETRY: Duration = Duration::from_millis(100);

/// What each connection takes of the room for all of them, and keeps when it becomes a socket.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Serves connections until `shutdown`, then ends them.
pub(crate) async fn serve(server: &Server, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let router = server.router();
    let connections = TaskTracker::new();
    let abandoned = CancellationToken::new();
    let room = Arc::new(Semaphore::new(server.state().options().connections));
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, client, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (closing, abandoned) = (server.state().closing().clone(), abandoned.clone());
        let seat = Seat { _permit: Arc::new(permit) };
        let connection = attend(stream, client, seat, router.clone(), closing);
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = abandoned.cancelled() => {}
            }
        });
    }
    // New clients are refused at once; the others get their answers while commands are ended.
    drop(listener);
    connections.close();
    server.state().closing().cancel();
    let sockets = server.state().sockets();
    sockets.close();
    let ended = timeout(GRACE, async { tokio::join!(server.end(), connections.wait(), sockets.wait()) }).await;
    if ended.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut because their requests did not end in time"
        );
        abandoned.cancel();
        connections.wait().await;
    }
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client, permit),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no connection can be accepted now");
                sleep(RETRY).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection.
async fn attend(stream: TcpStream, client: SocketAddr, seat: Seat, router: Router, closing: CancellationToken) {
    // Answers are written whole, so waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(router.clone(), client, seat.clone(), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_PATIENCE);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(Patient::new(stream, STALL_PATIENCE)), service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, client.address = %client, "a connection broke");
    }
}

async fn answer(
    mut router: Router,
    client: SocketAddr,
    seat: Seat,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(client));
    request.extensions_mut().insert(seat);
    router.call(request).await
}
