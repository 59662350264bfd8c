//! What all conversations share, and which of them are in memory.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Instant};

use longshore_protocol::ConversationId;
use longshore_store::Owner;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Options, Parts, action_log::Actions, budget::Ledger, infos::Infos, live::Live, observer::Seat, queue::Queue,
};

/// What all conversations share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) options: Options,
    pub(crate) runs: Queue,
    /// Fires when the server stops.
    pub(crate) stopping: CancellationToken,
    pub(crate) infos: Infos,
    pub(crate) ledger: Arc<Ledger>,
    /// When a conversation last changed.
    pub(crate) used_at: Mutex<Instant>,
    pub(crate) live: Mutex<HashMap<Key, Slot>>,
    pub(crate) tracker: TaskTracker,
    pub(crate) observer: Seat,
    pub(crate) actions: Actions,
}

/// Whose conversation it is, and which.
type Key = (Owner, ConversationId);

/// A conversation in memory, or on its way there.
type Slot = Arc<OnceCell<Arc<Live>>>;

/// A look at a slot, which is gone afterwards if nobody used it.
pub(crate) struct Visit<'a> {
    shared: &'a Shared,
    key: Key,
    slot: Option<Slot>,
}

impl Visit<'_> {
    pub(crate) fn slot(&self) -> &OnceCell<Arc<Live>> {
        self.slot.as_ref().expect("a slot is there until the visit ends")
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut slots = self.shared.live.lock();
        let Some(slot) = self.slot.take() else { return };
        let is_there = slots.get(&self.key).is_some_and(|current| Arc::ptr_eq(current, &slot));
        // Two references mean that nobody else looks at it: the map's and ours.
        if is_there && !slot.initialized() && Arc::strong_count(&slot) == 2 {
            slots.remove(&self.key);
        }
    }
}

impl Shared {
    pub(crate) fn new(parts: Parts, options: Options) -> Self {
        let tracker = TaskTracker::new();
        let (store, budgets) = (Arc::clone(&parts.store), Arc::clone(&parts.budgets));
        let ledger = Ledger::new(store, budgets, parts.clock.clone(), tracker.clone());
        Self {
            parts,
            ledger: Arc::new(ledger),
            runs: Queue::new(options.max_concurrent_runs, options.queue.clone()),
            options,
            infos: Infos::new(),
            used_at: Mutex::new(Instant::now()),
            stopping: CancellationToken::new(),
            live: Mutex::default(),
            tracker,
            observer: Seat::default(),
            actions: Actions::default(),
        }
    }

    /// A look at a conversation's place in memory.
    pub(crate) fn visit(&self, owner: &Owner, id: ConversationId) -> Visit<'_> {
        let key = (owner.clone(), id);
        let slot = Arc::clone(self.live.lock().entry(key.clone()).or_default());
        Visit { shared: self, key, slot: Some(slot) }
    }

    /// Whether this is the conversation in memory.
    pub(crate) fn holds(&self, live: &Arc<Live>) -> bool {
        let slots = self.live.lock();
        let slot = slots.get(&(live.owner.clone(), live.id));
        slot.and_then(|slot| slot.get()).is_some_and(|current| Arc::ptr_eq(current, live))
    }

    /// Takes a conversation out of memory unless it has readers, and says whether it did. A reader that comes at the same
    /// time finds that it is gone.
    pub(crate) fn forget_unread(&self, live: &Arc<Live>) -> bool {
        let mut slots = self.live.lock();
        let is_unread = Arc::strong_count(&live.readers) == 1;
        if is_unread {
            slots.remove(&(live.owner.clone(), live.id));
        }
        is_unread
    }

    /// Takes a conversation out of memory, if it is the one that is there.
    pub(crate) fn forget(&self, live: &Arc<Live>) {
        let mut slots = self.live.lock();
        let key = (live.owner.clone(), live.id);
        if slots.get(&key).and_then(|slot| slot.get()).is_some_and(|current| Arc::ptr_eq(current, live)) {
            slots.remove(&key);
        }
    }

    /// A conversation changed now.
    pub(crate) fn touch(&self) {
        *self.used_at.lock() = Instant::now();
    }

    pub(crate) fn persistence_dir(&self, id: ConversationId) -> PathBuf {
        self.options.conversations_dir.join(id.hex())
    }

    pub(crate) fn persistence_text(&self, id: ConversationId) -> Arc<str> {
        self.persistence_dir(id).to_string_lossy().into()
    }
}
