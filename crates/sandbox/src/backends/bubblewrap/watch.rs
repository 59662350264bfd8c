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
    boxes: Arc<Boxes>,
    number: AtomicU64,
    deaths: mpsc::Sender<Death>,
    heard: AsyncMutex<mpsc::Receiver<Death>>,
}

type Boxes = Mutex<BTreeMap<SandboxId, Entry>>;

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

    /// Watches a box until the future that `end` makes is ready, which tells why it ended, unless it is watched already.
    /// Must be called in the runtime's context.
    pub(super) fn add<F>(&self, id: SandboxId, end: impl FnOnce(Run) -> F)
    where
        F: Future<Output = String> + Send + 'static,
    {
        let run = Run { boxes: Arc::clone(&self.boxes), id, number: self.number.fetch_add(1, Ordering::Relaxed) };
        let mut boxes = self.boxes.lock();
        if boxes.contains_key(&id) {
            return;
        }
        let (end, deaths, number) = (end(run.clone()), self.deaths.clone(), run.number);
        let task = tokio::spawn(async move {
            let reason = end.await;
            if run.finish() {
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

/// The time from a box's start, or from when it was found, to its end.
#[derive(Clone)]
pub(super) struct Run {
    boxes: Arc<Boxes>,
    id: SandboxId,
    number: u64,
}

impl Run {
    /// The box.
    pub(super) fn id(&self) -> SandboxId {
        self.id
    }

    /// Whether nobody asked for the end of this run, nor for another one.
    pub(super) fn is_watched(&self) -> bool {
        self.boxes.lock().get(&self.id).is_some_and(|entry| entry.number == self.number)
    }

    /// No longer watches it; whether it was watched until now.
    fn finish(&self) -> bool {
        let mut boxes = self.boxes.lock();
        let is_watched = boxes.get(&self.id).is_some_and(|entry| entry.number == self.number);
        if is_watched {
            boxes.remove(&self.id);
        }
        is_watched
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for entry in self.boxes.lock().values() {
            entry.task.abort();
        }
    }
}
