//! How many there are at one time, by whose they are.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// How many there are of each, with the most that may be. Who has none takes no memory.
#[derive(Debug, Clone)]
pub(crate) struct Counts<K: Eq + Hash> {
    most: u64,
    counts: Arc<Mutex<HashMap<K, u64>>>,
}

/// One that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<K: Eq + Hash> {
    key: K,
    counts: Arc<Mutex<HashMap<K, u64>>>,
}

impl<K: Eq + Hash + Clone> Counts<K> {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// One more, unless there are as many as may be.
    pub(crate) fn one_more(&self, key: K) -> Option<Counted<K>> {
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted { key, counts: Arc::clone(&self.counts) })
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}
