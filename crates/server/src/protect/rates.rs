//! How much in which time.

use std::{
    hash::Hash,
    num::{NonZeroU32, NonZeroUsize},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DashMapStateStore,
};
use longshore_store::Owner;
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::Group;
use crate::Limits;

/// Checks after which those are forgotten who have all of their quota again.
const SWEEP: u32 = 4096;

/// Addresses whose wrong keys are counted, and good keys that are remembered. Of more, those that were used least recently
/// are forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");

const MINUTE: Duration = Duration::from_mins(1);

/// How many requests in a second.
#[derive(Debug)]
pub(super) struct Rates {
    reads: Rate<Owner>,
    writes: Rate<Owner>,
    addresses: Rate<Group>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            reads: Rate::new(limits.reads_per_second, limits.reads_burst),
            writes: Rate::new(limits.writes_per_second, limits.writes_burst),
            addresses: Rate::new(limits.address_requests_per_second, limits.address_requests_burst),
        }
    }

    /// Counts a request; the error is the seconds until there may be one more.
    pub(super) fn read(&self, user: &Owner) -> Result<(), u64> {
        self.reads.check(user)
    }

    pub(super) fn write(&self, user: &Owner) -> Result<(), u64> {
        self.writes.check(user)
    }

    pub(super) fn address(&self, group: Group) -> Result<(), u64> {
        self.addresses.check(&group)
    }
}

/// A rate of each key. One check adds one key at most, so between two sweeps memory cannot grow by more than [`SWEEP`] keys.
#[derive(Debug)]
struct Rate<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn new(per_second: u64, burst: u64) -> Self {
        let number = |value: u64| NonZeroU32::new(u32::try_from(value).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(number(per_second)).allow_burst(number(burst));
        Self { limiter: RateLimiter::dashmap(quota), checks: AtomicU32::new(0) }
    }

    fn check(&self, key: &K) -> Result<(), u64> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let now = self.limiter.clock().now();
        self.limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(now).as_secs() + 1)
    }
}

/// Wrong keys, by the address that they come from.
///
/// An address from which too many came may show only keys that it showed before and that were good: who shares an address
/// with somebody who guesses, or whose program has an old key, is not locked out.
#[derive(Debug)]
pub(super) struct WrongKeys {
    most: u64,
    /// How many came since when.
    wrong: Mutex<LruCache<Group, (Instant, u64)>>,
    good: Mutex<LruCache<(Group, [u8; 16]), ()>>,
}

impl WrongKeys {
    pub(super) fn new(most: u64) -> Self {
        Self { most, wrong: Mutex::new(LruCache::new(REMEMBERED)), good: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// Whether a key may be looked up; the error is the seconds until it may.
    pub(super) fn check(&self, group: Group, key: &str) -> Result<(), u64> {
        let Some((since, count)) = self.wrong.lock().get(&group).copied() else { return Ok(()) };
        let rest = MINUTE.saturating_sub(since.elapsed());
        let is_known = || self.good.lock().get(&(group, digest(key))).is_some();
        if count < self.most || rest.is_zero() || is_known() { Ok(()) } else { Err(rest.as_secs() + 1) }
    }

    pub(super) fn note_wrong(&self, group: Group) {
        let mut wrong = self.wrong.lock();
        let (since, count) = wrong.get_or_insert_mut(group, || (Instant::now(), 0));
        if since.elapsed() >= MINUTE {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
    }

    pub(super) fn note_good(&self, group: Group, key: &str) {
        self.good.lock().put((group, digest(key)), ());
    }
}

fn digest(key: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(key.as_bytes())[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_no_more_are_forgotten() {
        let rate = Rate::new(1 << 24, 1 << 24);
        for number in 0..3 * SWEEP {
            rate.check(&number).unwrap();
        }
        assert!(rate.limiter.len() <= SWEEP as usize + 1, "{}", rate.limiter.len());
    }

    #[test]
    fn one_who_asks_too_much_delays_nobody_else() {
        let rate = Rate::new(1, 2);
        assert_eq!([rate.check(&"hog"), rate.check(&"hog"), rate.check(&"ann")], [Ok(()); 3]);
        assert_eq!(rate.check(&"hog"), Err(1));
        assert_eq!(rate.check(&"ann"), Ok(()));
    }
}
