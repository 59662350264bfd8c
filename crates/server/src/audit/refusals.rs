//! Refusals of those who try again and again: some are logged, the rest is counted.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The time that refusals are counted for.
pub(super) const WINDOW: Duration = Duration::from_mins(1);

/// Addresses that are counted by themselves; all others share one count.
const ADDRESSES: usize = 4096;

#[derive(Debug)]
pub(super) struct Refusals {
    /// Refusals of one address that are logged in a window.
    limit: u32,
    counts: Mutex<HashMap<Option<IpAddr>, Count>>,
}

#[derive(Debug)]
struct Count {
    began: Instant,
    seen: u32,
}

impl Refusals {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, counts: Mutex::default() }
    }

    /// Counts a refusal, and says whether it is to be logged by itself.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> bool {
        let mut counts = self.counts.lock();
        let address = address.map(network).filter(|it| counts.len() < ADDRESSES || counts.contains_key(&Some(*it)));
        let count = counts.entry(address).or_insert_with(|| Count { began: Instant::now(), seen: 0 });
        count.seen = count.seen.saturating_add(1);
        count.seen <= self.limit
    }

    /// The addresses whose window is over, or all, with how many refusals of them were not logged.
    pub(super) fn sums(&self, all: bool) -> Vec<(Option<IpAddr>, u32)> {
        let mut counts = self.counts.lock();
        let over = counts.extract_if(|_, count| all || count.began.elapsed() >= WINDOW);
        let sums = over.map(|(address, count)| (address, count.seen.saturating_sub(self.limit)));
        sums.filter(|(_, unlogged)| *unlogged > 0).collect()
    }
}

/// One customer has a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}
