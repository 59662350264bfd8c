//! The server's end of a box's only way out.
//!
//! A box without a network has no route: no TCP, no UDP, no DNS. Its programs find a proxy on its loopback, whose
//! connections `boxd` hands to the server as byte streams. Here the server reads what each one asks for, over SOCKS5 or
//! HTTP, decides by the box's [`Policy`], looks the name up, connects, copies bytes and tells the [`Ledger`].
//!
//! A request takes these steps, and the first that fails is the answer:
//! 1. The target is read once, into a name in its one spelling or an address, and a port. Nothing later sees the text.
//! 2. The policy must have the host with the port. A host that is not allowed is not looked up, since the question itself
//!    would carry data out.
//! 3. The name is looked up, and addresses that [no box may reach](Networks) are left out: those of this machine, of
//!    private networks, of a cloud's metadata.
//! 4. The connection goes to one of the addresses that are left. There is no second look-up whose answer could differ.

mod accept;
mod address;
mod client;
mod dial;
mod host;
mod http;
mod ledger;
mod policy;
mod proxy;
mod refusal;
mod socks;
mod tunnel;
mod upstream;

use std::time::Duration;

pub use accept::{Acceptor, run};
pub use address::Networks;
pub use ledger::Ledger;
pub use longshore_outbound::{Resolver, SystemResolver};
pub use policy::Policy;
pub use proxy::Proxy;

/// How much of a proxy one box may use, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections to hosts at a time. One more waits for [`Limits::wait`] and is then refused.
    pub connections: usize,
    /// How long a connection waits until another one ends.
    pub wait: Duration,
    /// How long a program may take to say where it wants to go, and to begin its next request.
    pub header: Duration,
    /// How long a name may take to be looked up.
    pub lookup: Duration,
    /// How long a host may take to be connected, all its addresses together.
    pub connect: Duration,
    /// How long nothing may pass between a program and a host; then the connection is closed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            wait: Duration::from_secs(10),
            header: Duration::from_secs(10),
            lookup: Duration::from_secs(10),
            connect: Duration::from_secs(15),
            idle: Duration::from_mins(10),
        }
    }
}

/// The size of each buffer that bytes are copied through.
const BUFFER: usize = 64 * 1024;
