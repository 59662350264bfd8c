//! From a target to a connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    Ledger, Limits, Policy, Resolver,
    host::{Host, Target},
    ledger::Denials,
    refusal::Refusal,
    upstream::Upstream,
};

/// The most look-ups of one box at a time, so that one box cannot take all turns of a resolver.
const MAX_LOOKUPS: usize = 8;

/// The most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects one box to hosts that it may reach.
#[derive(Debug)]
pub(super) struct Dialer {
    policy: Policy,
    resolver: Arc<dyn Resolver>,
    ledger: Arc<dyn Ledger>,
    denials: Denials,
    limits: Limits,
    connections: Arc<Semaphore>,
    lookups: Semaphore,
}

impl Dialer {
    pub(super) fn new(policy: Policy, resolver: Arc<dyn Resolver>, ledger: Arc<dyn Ledger>, limits: Limits) -> Self {
        Self {
            policy,
            resolver,
            denials: Denials::new(Arc::clone(&ledger)),
            ledger,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            lookups: Semaphore::new(MAX_LOOKUPS),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connects to `target`, or says why not. The steps and their order are those of the [module](super).
    pub(super) async fn dial(&self, target: &Target) -> Result<Upstream, Refusal> {
        let dialled = self.try_dial(target).await;
        if let Err(refusal) = &dialled {
            tracing::debug!(%refusal, "a box's connection was not made");
            if refusal.is_denial() {
                self.denials.tell(target, refusal.reason());
            }
        }
        dialled
    }

    async fn try_dial(&self, target: &Target) -> Result<Upstream, Refusal> {
        self.policy.check(target)?;
        let turn = timeout(self.limits.wait, Arc::clone(&self.connections).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refusal::busy(target, self.limits.connections)) };
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(target, name).await?,
        };
        let open = self.reachable(target, addresses)?;
        let stream = self.connect(target.port, &open).await.map_err(|cause| Refusal::connect_failed(target, &cause))?;
        Upstream::new(stream, target, Arc::clone(&self.ledger), turn)
            .map_err(|cause| Refusal::connect_failed(target, &cause))
    }

    async fn look_up(&self, target: &Target, name: &str) -> Result<Vec<IpAddr>, Refusal> {
        let lookup = async {
            let _turn = self.lookups.acquire().await.map_err(io::Error::other)?;
            self.resolver.resolve(name).await
        };
        match timeout(self.limits.lookup, lookup).await {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(Refusal::not_found(target, &io::Error::other("it has no address")))
            }
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(cause)) => Err(Refusal::not_found(target, &cause)),
            Err(_) => Err(Refusal::lookup_timeout(target)),
        }
    }

    /// Those of a host's addresses that a box may reach.
    fn reachable(&self, target: &Target, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Refusal> {
        let mut objection = None;
        let mut open = addresses;
        open.truncate(MAX_ADDRESSES);
        open.retain(|address| {
            let closed = self.policy.objection(*address);
            objection = objection.or(closed);
            closed.is_none()
        });
        match objection {
            Some(what) if open.is_empty() => Err(Refusal::address_not_allowed(target, what)),
            _ => Ok(open),
        }
    }

    /// Tries the addresses one after the other. Each gets an even part of the time that is left, so that one that swallows
    /// packets does not keep the next from being tried.
    async fn connect(&self, port: u16, addresses: &[IpAddr]) -> io::Result<TcpStream> {
        let deadline = Instant::now() + self.limits.connect;
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (index, address) in addresses.iter().enumerate() {
            let part = share(deadline.saturating_duration_since(Instant::now()), addresses.len() - index);
            match timeout(part, TcpStream::connect(SocketAddr::new(*address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => failure = cause,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
    }
}

fn share(time: Duration, parts: usize) -> Duration {
    time / u32::try_from(parts).unwrap_or(u32::MAX)
}
