//! One box's proxy.

use std::sync::Arc;

use longshore_workspace::Duplex;
use tokio::time::timeout;

use super::{Ledger, Limits, Policy, Resolver, client::Client, dial::Dialer, http, socks};

/// One box's proxy, which speaks SOCKS5 and HTTP/1 to its programs.
#[derive(Debug)]
pub struct Proxy {
    dialer: Dialer,
}

impl Proxy {
    /// A proxy that lets through what `policy` allows, finds names with `resolver` and tells `ledger`.
    pub fn new(policy: Policy, resolver: Arc<dyn Resolver>, ledger: Arc<dyn Ledger>, limits: Limits) -> Self {
        Self { dialer: Dialer::new(policy, resolver, ledger, limits) }
    }

    /// The most programs' connections that are to be served at a time. Each may wait for a host, have one, or be between
    /// two requests, so they are more than [`Limits::connections`].
    pub(super) fn capacity(&self) -> usize {
        self.dialer.limits().connections.saturating_mul(2).clamp(1, tokio::sync::Semaphore::MAX_PERMITS)
    }

    /// Serves one connection of a program until it ends or is [idle](Limits::idle). Dropping the future breaks it off, and
    /// all that was connected for it.
    pub async fn serve(&self, stream: impl Duplex + 'static) {
        let client = Client::new(Box::new(stream));
        let activity = client.activity();
        tokio::select! {
            biased;
            () = self.converse(client) => (),
            () = activity.idle(self.dialer.limits().idle) => tracing::debug!("a box's connection was idle and is closed"),
        }
    }

    async fn converse(&self, mut client: Client) {
        match timeout(self.dialer.limits().header, client.peek()).await {
            Ok(Ok(Some(socks::VERSION))) => Box::pin(socks::converse(&self.dialer, client)).await,
            Ok(Ok(Some(_))) => Box::pin(http::converse(&self.dialer, client)).await,
            // A program that connects and says nothing wants nothing.
            Ok(Ok(None) | Err(_)) | Err(_) => (),
        }
    }
}
