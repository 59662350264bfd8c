//! Answers about conversations that are only rows: a list shows the same ones again and again.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
};

use longshore_protocol::{ConversationId, UtcTime};
use longshore_store::Owner;
use lru::LruCache;
use parking_lot::Mutex;

use crate::info::{Info, Skills};

/// Answers that are kept.
const MAX_INFOS: NonZeroUsize = NonZeroUsize::new(1024).expect("the number above is not zero");
/// The largest answer that is kept, in bytes.
const MAX_INFO: usize = 32 * 1024;

/// The latest answers.
#[derive(Debug)]
pub(crate) struct Infos {
    known: Mutex<LruCache<Key, Known>>,
    /// Counts what was forgotten, so that an answer from before is not kept after.
    epoch: AtomicU64,
}

type Key = (Owner, ConversationId, Skills);

/// An answer, and the change of the conversation that it shows.
type Known = (UtcTime, Info);

impl Infos {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::new(LruCache::new(MAX_INFOS)), epoch: AtomicU64::new(0) }
    }

    /// The answer, if it shows the change of `updated_at`.
    pub(crate) fn get(&self, owner: &Owner, id: ConversationId, skills: Skills, updated_at: UtcTime) -> Option<Info> {
        let mut known = self.known.lock();
        let (shown, info) = known.get(&(owner.clone(), id, skills))?;
        (*shown == updated_at).then(|| info.clone())
    }

    /// What an answer is to be kept with; taken before its parts are read.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Keeps an answer, unless something was forgotten since `epoch`.
    pub(crate) fn put(&self, key: Key, updated_at: UtcTime, info: &Info, epoch: u64) {
        let mut known = self.known.lock();
        if info.0.len() <= MAX_INFO && self.epoch() == epoch {
            known.put(key, (updated_at, info.clone()));
        }
    }

    /// Forgets a conversation: something changed that its row does not show.
    pub(crate) fn forget(&self, owner: &Owner, id: ConversationId) {
        let mut known = self.known.lock();
        self.epoch.fetch_add(1, Ordering::Release);
        for skills in [Skills::Included, Skills::Trimmed] {
            known.pop(&(owner.clone(), id, skills));
        }
    }
}
