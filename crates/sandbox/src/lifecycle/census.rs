//! How many boxes there are, what became of them and what they use, for those who watch a server.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use longshore_protocol::sandbox::SandboxState;
use parking_lot::Mutex;

use super::{Sandboxes, Shared};
use crate::{Error, Limits, SandboxId, Stats};

/// All states that a box may be in.
const STATES: [SandboxState; 8] = [
    SandboxState::Queued,
    SandboxState::Pulling,
    SandboxState::Starting,
    SandboxState::Ready,
    SandboxState::Paused,
    SandboxState::Stopped,
    SandboxState::Lost,
    SandboxState::Failed,
];

/// Boxes in numbers. Nothing in it tells whose a box is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Census {
    /// Boxes in each state, and how often a box has come to be in it since the server started.
    pub states: Vec<(SandboxState, usize, u64)>,
    /// Boxes that wait to be given out.
    pub waiting: usize,
    /// Boxes that there may be.
    pub most: usize,
    /// Boxes that were measured: those that are awake and have a limit of memory or disk.
    pub measured: usize,
    /// What all of them used when they were last looked at.
    pub sum: Usage,
    /// The most that one of them used.
    pub max: Usage,
    /// The most that one of them used of its limit of memory: 1 for all of it.
    pub memory_share: f64,
    /// The most that one of them used of its limit of disk.
    pub disk_share: f64,
}

/// What one box uses, or several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processors: 1 for one that does nothing else.
    pub processors: f64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes on disk.
    pub disk: u64,
}

impl Usage {
    fn with(self, other: Self, float: fn(f64, f64) -> f64, whole: fn(u64, u64) -> u64) -> Self {
        Self {
            processors: float(self.processors, other.processors),
            memory: whole(self.memory, other.memory),
            disk: whole(self.disk, other.disk),
        }
    }
}

/// What the sweeper saw and the slots told.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    changes: [AtomicU64; STATES.len()],
    measures: Mutex<HashMap<SandboxId, Measure>>,
}

#[derive(Debug, Clone, Copy)]
struct Measure {
    at: Instant,
    stats: Stats,
    usage: Usage,
    memory_share: f64,
    disk_share: f64,
}

impl Tally {
    /// A box has come to be in `state`.
    pub(crate) fn changed(&self, state: SandboxState) {
        if let Some(index) = STATES.iter().position(|known| *known == state) {
            self.changes[index].fetch_add(1, Relaxed);
        }
    }

    /// A box was looked at.
    pub(crate) fn measured(&self, id: SandboxId, stats: Stats, limits: &Limits) {
        let at = Instant::now();
        let mut measures = self.measures.lock();
        let last = measures.get(&id).copied();
        let usage = Usage {
            processors: last.map_or(0.0, |last| processors(&last, &stats, at)),
            memory: stats.memory.unwrap_or_default(),
            disk: stats.disk.unwrap_or_default(),
        };
        let memory_share = share(stats.memory, limits.memory);
        let disk_share = share(stats.disk, limits.disk);
        measures.insert(id, Measure { at, stats, usage, memory_share, disk_share });
    }

    /// Forgets all boxes but those.
    pub(crate) fn keep(&self, is_there: impl Fn(SandboxId) -> bool) {
        self.measures.lock().retain(|id, _| is_there(*id));
    }
}

/// Processors in use between two looks. A box that was started again counts from nothing.
#[expect(clippy::cast_precision_loss, reason = "a measure for people")]
fn processors(last: &Measure, now: &Stats, at: Instant) -> f64 {
    let (Some(before), Some(after)) = (last.stats.cpu_micros, now.cpu_micros) else { return 0.0 };
    let seconds = at.duration_since(last.at).as_secs_f64();
    if seconds > 0.0 { after.saturating_sub(before) as f64 / 1e6 / seconds } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a measure for people")]
fn share(used: Option<u64>, limit: Option<u64>) -> f64 {
    used.zip(limit).map_or(0.0, |(used, limit)| used as f64 / limit.max(1) as f64)
}

impl Sandboxes {
    /// All boxes in numbers. What they use is what the sweeper last saw, so nobody waits for a box.
    pub fn census(&self) -> Census {
        let Shared { slots, tally, settings, .. } = &*self.shared;
        let slots: Vec<_> = slots.lock().values().cloned().collect();
        let counts = self.count();
        let states = STATES.iter().zip(&tally.changes);
        let mut census = Census {
            states: states
                .map(|(state, changes)| (*state, counts.get(state).copied().unwrap_or_default(), changes.load(Relaxed)))
                .collect(),
            waiting: self.count_waiting(),
            most: settings.max_boxes,
            ..Census::default()
        };
        let measures = tally.measures.lock();
        for measure in slots.iter().filter_map(|slot| measures.get(&slot.running()?.id)) {
            census.measured += 1;
            census.sum = census.sum.with(measure.usage, |one, other| one + other, u64::saturating_add);
            census.max = census.max.with(measure.usage, f64::max, u64::max);
            census.memory_share = census.memory_share.max(measure.memory_share);
            census.disk_share = census.disk_share.max(measure.disk_share);
        }
        census
    }

    /// The kinds of boxes, and whether what makes each of them answers; the first is the one that users get where none is
    /// named. What does not answer within `limit` counts as down.
    pub async fn health(&self, limit: Duration) -> Vec<(&'static str, Result<(), Error>)> {
        let asked = self.shared.backends.iter().map(|backend| async move {
            let alive = tokio::time::timeout(limit, backend.is_alive()).await;
            (backend.name(), alive.unwrap_or_else(|late| Err(Error::failed("reach what makes boxes", late))))
        });
        futures::future::join_all(asked).await
    }
}
