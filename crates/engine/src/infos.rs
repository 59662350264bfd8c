//! Answers about conversations that are only rows: a list shows the same ones again and again.

use std::num::NonZeroUsize;

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
pub(crate) struct Infos(Mutex<LruCache<Key, Known>>);

type Key = (Owner, ConversationId, Skills);

/// An answer, and the change of the conversation that it shows.
type Known = (UtcTime, Info);

impl Infos {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_INFOS)))
    }

    /// The answer, if it shows the change of `updated_at`.
    pub(crate) fn get(&self, owner: &Owner, id: ConversationId, skills: Skills, updated_at: UtcTime) -> Option<Info> {
        let mut infos = self.0.lock();
        let (shown, info) = infos.get(&(owner.clone(), id, skills))?;
        (*shown == updated_at).then(|| info.clone())
    }

    pub(crate) fn put(&self, owner: &Owner, id: ConversationId, skills: Skills, updated_at: UtcTime, info: &Info) {
        if info.0.len() <= MAX_INFO {
            self.0.lock().put((owner.clone(), id, skills), (updated_at, info.clone()));
        }
    }

    /// Forgets a conversation: something changed that its row does not show.
    pub(crate) fn forget(&self, owner: &Owner, id: ConversationId) {
        let mut infos = self.0.lock();
        for skills in [Skills::Included, Skills::Trimmed] {
            infos.pop(&(owner.clone(), id, skills));
        }
    }
}
