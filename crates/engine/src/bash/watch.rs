//! Who watches which commands.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use longshore_protocol::{bash::BashEvent, nulls};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Error, Limits, Scope};

/// An event as it goes over a socket.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The event's id.
    pub id: Arc<str>,
    /// The event as JSON, with null fields.
    pub json: Bytes,
}

/// The events of a scope, from the moment it was made.
#[derive(Debug)]
pub struct Watch {
    frames: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
}

impl Watch {
    /// The next event; none if the watcher has fallen behind by more than [`Limits::queued`] and must start again.
    /// Nothing is lost if the call is cancelled.
    pub async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        self.queued.fetch_sub(frame.json.len(), Ordering::Relaxed);
        Some(frame)
    }
}

pub(super) struct Watchers {
    limits: Limits,
    by_scope: Mutex<HashMap<Scope, Vec<Watcher>>>,
}

struct Watcher {
    frames: mpsc::UnboundedSender<Frame>,
    queued: Arc<AtomicUsize>,
}

impl Watchers {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, by_scope: Mutex::default() }
    }

    pub(super) fn add(&self, scope: &Scope) -> Result<Watch, Error> {
        let mut by_scope = self.by_scope.lock();
        let watchers = by_scope.entry(scope.clone()).or_default();
        watchers.retain(|watcher| !watcher.frames.is_closed());
        if watchers.len() >= self.limits.watchers {
            return Err(Error::TooManyWatchers);
        }
        let (sender, frames) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        watchers.push(Watcher { frames: sender, queued: Arc::clone(&queued) });
        Ok(Watch { frames, queued })
    }

    /// Queues an event for everybody who watches `scope`, and drops those who are too far behind.
    pub(super) fn publish(&self, scope: &Scope, event: &BashEvent) {
        let mut by_scope = self.by_scope.lock();
        let Some(watchers) = by_scope.get_mut(scope) else { return };
        let (Some(id), Ok(json)) = (id_of(event), nulls::to_vec(event)) else { return };
        let frame = Frame { id: id.into(), json: json.into() };
        watchers.retain(|watcher| {
            let queued = watcher.queued.fetch_add(frame.json.len(), Ordering::Relaxed);
            // One frame is always let through, so that a large one does not end a watcher that keeps up.
            (queued == 0 || queued + frame.json.len() <= self.limits.queued)
                && watcher.frames.send(frame.clone()).is_ok()
        });
        if watchers.is_empty() {
            by_scope.remove(scope);
        }
    }
}

fn id_of(event: &BashEvent) -> Option<&str> {
    match event {
        BashEvent::BashCommand(command) => Some(&command.id),
        BashEvent::BashOutput(output) => Some(&output.id),
        BashEvent::BashError(error) => Some(&error.id),
        BashEvent::Unknown(_) => None,
    }
}
