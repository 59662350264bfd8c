//! Names to addresses.

use std::{
    fmt, io,
    net::{IpAddr, ToSocketAddrs as _},
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// The turns of all look-ups of this process. Each takes a thread, which also wait for files and other things.
static TURNS: Semaphore = Semaphore::const_new(64);

/// Finds the addresses of names.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The addresses of `name`, in the order in which they are to be tried.
    ///
    /// # Errors
    /// There are none, or nobody could be asked.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver: its hosts file and its name servers. All of a process together look up 64 names at a time;
/// one more waits.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SystemResolver {}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let turn = TURNS.acquire().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            // The turn ends with the look-up, which goes on in its thread when nobody waits for it any more.
            let _turn = turn;
            (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}
