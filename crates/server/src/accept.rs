//! Connections: from the listener to the routes, and their end.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{
    Certificate, Limits, Server, Tls,
    greet::greet,
    patient::Patient,
    protect::{Client, Counted, Counts, Group, is_proxy},
    tls::LOOK,
};

/// How long requests may go on after the server was told to stop.
const GRACE: Duration = Duration::from_millis(1600);

/// How long to wait when the system has no room for another connection.
const RETRY: Duration = Duration::from_millis(100);

/// What each connection takes of the room for all of them, and keeps when it becomes a socket.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    _permit: Arc<OwnedSemaphorePermit>,
    _counted: Option<Arc<Counted<Group>>>,
}

/// Serves connections until `shutdown`, then ends them.
pub(crate) async fn serve(server: &Server, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let router = server.router();
    let connections = TaskTracker::new();
    let abandoned = CancellationToken::new();
    let options = server.state().options();
    let places = usize::try_from(options.limits.connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(places));
    let by_address = Counts::new(options.limits.connections_per_address);
    let manner = Manner { limits: options.limits.clone(), tls: options.tls.clone(), router };
    if let Some(certificate) = options.tls.as_ref().and_then(|tls| tls.certificate.clone()) {
        connections.spawn(watch(certificate, server.state().closing().clone()));
    }
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, client, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let counted = match counted(server, client.ip(), &by_address) {
            Ok(counted) => counted.map(Arc::new),
            Err(TooMany) => continue,
        };
        let (closing, abandoned) = (server.state().closing().clone(), abandoned.clone());
        let seat = Seat { _permit: Arc::new(permit), _counted: counted };
        let connection = attend(stream, client, seat, manner.clone(), closing);
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

/// One more connection from an address, unless there are too many. Those of trusted proxies, and of whoever is on the machine
/// of a server without keys, are not counted.
fn counted(server: &Server, address: IpAddr, by_address: &Counts<Group>) -> Result<Option<Counted<Group>>, TooMany> {
    let state = server.state();
    if state.trusts(Some(Client(address.to_canonical()))) || is_proxy(address, &state.options().trusted_proxies) {
        return Ok(None);
    }
    by_address.one_more(Group::of(address)).map(Some).ok_or(TooMany)
}

struct TooMany;

/// Loads a certificate again when its files change.
async fn watch(certificate: Certificate, closing: CancellationToken) {
    while timeout(LOOK, closing.cancelled()).await.is_err() {
        certificate.refresh().await;
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

/// How connections are served.
#[derive(Clone)]
struct Manner {
    limits: Limits,
    tls: Option<Tls>,
    router: Router,
}

/// Answers the requests of one connection.
async fn attend(stream: TcpStream, client: SocketAddr, seat: Seat, manner: Manner, closing: CancellationToken) {
    // Answers are written whole, so waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let Manner { limits, tls, router } = manner;
    let stall = Duration::from_secs(limits.stall_seconds);
    let Some(tls) = tls else {
        return converse(Patient::new(stream, stall), client, seat, &limits, router, closing).await;
    };
    let patience = Duration::from_secs(limits.handshake_seconds);
    let greeted = tokio::select! {
        greeted = timeout(patience, greet(stream, stall, &tls)) => greeted,
        () = closing.cancelled() => return,
    };
    match greeted {
        Ok(Ok(Some(stream))) => converse(stream, client, seat, &limits, router, closing).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, client.address = %client, "a client and the server did not agree on TLS");
        }
        Err(_) => tracing::debug!(client.address = %client, "a client did not finish the handshake of TLS in time"),
    }
}

/// Answers the requests that come through a stream.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: SocketAddr,
    seat: Seat,
    limits: &Limits,
    router: Router,
    closing: CancellationToken,
) {
    let service = service_fn(move |request| answer(router.clone(), client, seat.clone(), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(limits.head_seconds));
    builder.max_buf_size(usize::try_from(limits.head_bytes).unwrap_or(usize::MAX));
    builder.max_headers(usize::try_from(limits.headers).unwrap_or(usize::MAX));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
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
