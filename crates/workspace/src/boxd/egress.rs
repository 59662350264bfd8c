//! The way out of a box without a network: connections to a port on loopback that the server gets.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// How many connections there are at a time, waiting ones included. One more is closed at once.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection waits for the server.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How long to wait if no connection can be taken, which means that there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that wait for the server.
pub(super) struct Egress {
    waiting: Mutex<VecDeque<Waiting>>,
    arrived: Notify,
    room: Arc<Semaphore>,
}

struct Waiting {
    until: Instant,
    taken: Taken,
}

/// A connection, and its place among all of them.
pub(super) type Taken = (TcpStream, OwnedSemaphorePermit);

impl Egress {
    /// Accepts connections to `port` on the loopback addresses. Must be called in the runtime's context.
    pub(super) async fn listen(port: u16) -> io::Result<Arc<Self>> {
        let egress = Arc::new(Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|cause| io::Error::new(cause.kind(), format!("the proxy's address {address}: {cause}")))?;
        tokio::spawn(egress.clone().accept(listener));
        // Not every box has the other one.
        if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            tokio::spawn(egress.clone().accept(listener));
        }
        tokio::spawn(egress.clone().close_late());
        Ok(egress)
    }

    /// The connection that has waited longest, as soon as there is one.
    pub(super) async fn next(&self) -> Taken {
        loop {
            let arrived = self.arrived.notified();
            if let Some(waiting) = self.waiting.lock().pop_front() {
                return waiting.taken;
            }
            arrived.await;
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if let Ok(permit) = self.room.clone().try_acquire_owned() {
                let _ = stream.set_nodelay(true);
                self.waiting.lock().push_back(Waiting { until: Instant::now() + MAX_WAIT, taken: (stream, permit) });
                self.arrived.notify_waiters();
            }
        }
    }

    /// Closes connections that nobody takes.
    async fn close_late(self: Arc<Self>) {
        loop {
            let arrived = self.arrived.notified();
            let first = self.waiting.lock().front().map(|waiting| waiting.until);
            match first {
                None => arrived.await,
                Some(until) => {
                    sleep_until(until).await;
                    self.waiting.lock().retain(|waiting| waiting.until > until);
                }
            }
        }
    }
}

/// The variables by which programs know of the proxy.
pub(super) fn variables(port: u16) -> impl Iterator<Item = (OsString, OsString)> {
    let (http, all) = (format!("http://127.0.0.1:{port}"), format!("socks5h://127.0.0.1:{port}"));
    let values = [("HTTP_PROXY", http.clone()), ("HTTPS_PROXY", http), ("ALL_PROXY", all)];
    let values = values.into_iter().chain([("NO_PROXY", "localhost,127.0.0.1,::1".to_owned())]);
    // Some programs read only the one, some only the other.
    values
        .flat_map(|(name, value)| [(name.to_lowercase(), value.clone()), (name.to_owned(), value)])
        .map(|(name, value)| (name.into(), value.into()))
}
