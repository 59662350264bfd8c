//! Names to addresses that may be asked.

use std::{io, net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::{Policy, Resolver, error::Refusal, host::Host};

/// The most look-ups of one client at a time, so that users cannot take all turns of a resolver that boxes use too. One
/// more waits, as long as a connection may take to be made.
const MAX_LOOKUPS: usize = 32;

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Looks names up for connections, which go to nothing but the addresses that it returns.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolver>,
    turns: Arc<Semaphore>,
}

impl Names {
    pub(crate) fn new(policy: Arc<Policy>, resolver: Arc<dyn Resolver>) -> Self {
        Self { policy, resolver, turns: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    async fn addresses(&self, name: &str) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let host = Host::parse(name).map_err(|why| Refusal::no_host(name, why))?;
        let found = {
            let _turn = self.turns.acquire().await?;
            self.resolver.resolve(name).await?
        };
        let mut refusal = None;
        let mut open = Vec::new();
        for address in found.into_iter().take(MAX_ADDRESSES) {
            match self.policy.judge(&host, address) {
                // The port of the URL takes the place of 0.
                Ok(()) => open.push(SocketAddr::new(address, 0)),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match refusal {
            Some(refusal) if open.is_empty() => Err(refusal.into()),
            None if open.is_empty() => Err(io::Error::other("it has no address").into()),
            _ => Ok(Box::new(open.into_iter())),
        }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move { names.addresses(name.as_str()).await })
    }
}
