//! The ends of boxes that nobody asked for.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    task::AbortHandle,
};

use crate::{Death, SandboxId};

/// Deaths that nobody has heard of yet; more wait, each in the task of its box.
const WAITING: usize = 256;

/// Watches over boxes. What it watches ends with it.
#[derive(Debug)]
pub(super) struct Watch {
    boxes: Arc<Mutex<BTreeMap<SandboxId, Entry>>>,
    number: AtomicU64,
    deaths: mpsc::Sender<Death>,
    heard: AsyncMutex<mpsc::Receiver<Death>>,
}

#[derive(Debug)]
struct Entry {
    /// Tells this run of the box from others.
    number: u64,
    task: AbortHandle,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (deaths, heard) = mpsc::channel(WAITING);
        Self { boxes: Arc::default(), number: AtomicU64::new(0), deaths, heard: AsyncMutex::new(heard) }
    }

    /// Watches a box until `end`, which tells why it came, unless it is watched already. Must be called in the runtime's
    /// context.
    pub(super) fn add(&self, id: SandboxId, end: impl Future<Output = String> + Send + 'static) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut boxes = self.boxes.lock();
        if boxes.contains_key(&id) {
            return;
        }
        let (watched, deaths) = (Arc::clone(&self.boxes), self.deaths.clone());
        let task = tokio::spawn(async move {
            let reason = end.await;
            let was_asked = {
                let mut watched = watched.lock();
                let own = watched.get(&id).is_some_and(|entry| entry.number == number);
                if own {
                    watched.remove(&id);
                }
                !own
            };
            if !was_asked {
                // Nobody listens only when the backend is gone.
                let _ = deaths.send(Death { id, reason }).await;
            }
        });
        boxes.insert(id, Entry { number, task: task.abort_handle() });
    }

    /// Whether a box is watched.
    pub(super) fn has(&self, id: SandboxId) -> bool {
        self.boxes.lock().contains_key(&id)
    }

    /// No longer watches a box: what happens to it now was asked for.
    pub(super) fn forget(&self, id: SandboxId) {
        if let Some(entry) = self.boxes.lock().remove(&id) {
            entry.task.abort();
        }
    }

    /// The next end.
    pub(super) async fn next(&self) -> Death {
        match self.heard.lock().await.recv().await {
            Some(death) => death,
            // This value holds a sender, so there is always one more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for entry in self.boxes.lock().values() {
            entry.task.abort();
        }
    }
}
