//! What is told about a box's connections.

use std::{collections::HashMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::host::Target;

/// How long a denial that was told is not told again.
const QUIET: Duration = Duration::from_mins(1);

/// The most hosts and ports whose denials are told within [`QUIET`].
const MAX_TOLD: usize = 64;

/// Hears of a box's connections. It is called from the tasks that copy bytes, so it must not wait for anything.
///
/// A host is a name in lower case or an address, without a port.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// The box tried to reach a host that it may not. `reason` follows the host in a sentence: `is not in allowed_hosts`.
    ///
    /// A program may try a thousand times a second, so each host and port is told at most once a minute, with how often
    /// it was tried meanwhile, and at most 64 of them in a minute.
    fn denied(&self, host: &str, port: u16, reason: &str);

    /// A connection was made to `address`, which is one of the host's.
    fn connected(&self, host: &str, port: u16, address: SocketAddr);

    /// A connection has ended, after so many bytes to the host and from it.
    fn closed(&self, host: &str, port: u16, up: u64, down: u64);
}

/// Tells denials, but not each one.
#[derive(Debug)]
pub(super) struct Denials {
    ledger: Arc<dyn Ledger>,
    told: Mutex<HashMap<Target, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How often it was denied since.
    repeated: u64,
}

impl Denials {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, told: Mutex::default() }
    }

    pub(super) fn tell(&self, target: &Target, reason: &str) {
        let Some(repeated) = self.is_due(target) else { return };
        let host = target.host.to_string();
        tracing::info!(%host, port = target.port, reason, repeated, "a box tried to reach a host that it may not");
        if repeated == 0 {
            self.ledger.denied(&host, target.port, reason);
        } else {
            self.ledger.denied(&host, target.port, &format!("{reason} (tried {repeated} more times before)"));
        }
    }

    /// Whether a denial is to be told now, and how many there were since the last time.
    fn is_due(&self, target: &Target) -> Option<u64> {
        let now = Instant::now();
        let mut told = self.told.lock();
        if let Some(last) = told.get_mut(target) {
            if now - last.at < QUIET {
                last.repeated += 1;
                return None;
            }
            let last = std::mem::replace(last, Told { at: now, repeated: 0 });
            return Some(last.repeated);
        }
        if told.len() >= MAX_TOLD {
            told.retain(|_, told| now - told.at < QUIET);
        }
        (told.len() < MAX_TOLD).then(|| {
            told.insert(target.clone(), Told { at: now, repeated: 0 });
            0
        })
    }
}
