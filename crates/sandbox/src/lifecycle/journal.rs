//! What happens to boxes, stored in order and then shown.

use std::sync::Arc;

use longshore_protocol::{UtcTime, sandbox::SandboxEvent};
use longshore_store::{SandboxChange, Store};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::SandboxId;

/// Changes that may wait to be stored. Whoever has another one waits.
const QUEUE: usize = 1024;

/// Stores changes of boxes in the order they are given, and shows their events when they are stored. Nobody waits for the
/// disk: what a box is doing is found again by looking at the box.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: mpsc::Sender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Change { id: SandboxId, change: Box<SandboxChange>, watchers: broadcast::Sender<SandboxEvent> },
    Flush(oneshot::Sender<()>),
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let (entries, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write(store, queue));
        Self { entries }
    }

    /// Has a change stored, and its events shown to `watchers`.
    pub(crate) async fn note(&self, id: SandboxId, change: SandboxChange, watchers: &broadcast::Sender<SandboxEvent>) {
        // The writer ends with the runtime only.
        let _ = self.entries.send(Entry::Change { id, change: Box::new(change), watchers: watchers.clone() }).await;
    }

    /// As [`Journal::note`], but a change for which there is no room is dropped.
    pub(crate) fn note_if_room(
        &self,
        id: SandboxId,
        change: SandboxChange,
        watchers: &broadcast::Sender<SandboxEvent>,
    ) {
        let _ = self.entries.try_send(Entry::Change { id, change: Box::new(change), watchers: watchers.clone() });
    }

    /// Waits until all that was noted is stored.
    pub(crate) async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            let _ = stored.await;
        }
    }
}

async fn write(store: Arc<dyn Store>, mut queue: mpsc::Receiver<Entry>) {
    while let Some(entry) = queue.recv().await {
        match entry {
            Entry::Change { id, change, watchers } => match store.change_sandbox(id.0, *change).await {
                Ok(events) => {
                    for event in events {
                        let _ = watchers.send(event);
                    }
                }
                Err(error) => tracing::error!(sandbox.id = %id, %error, "what happened to a box could not be stored"),
            },
            Entry::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// The moment, as precisely as it is stored: what is shown of a box is the same before and after a restart.
pub(crate) fn now() -> UtcTime {
    let now = jiff::Timestamp::now();
    UtcTime(jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}
