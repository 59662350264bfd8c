//! Deadlines, deaths, disks and memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use longshore_protocol::sandbox::SandboxEventBody;

use super::{Shared, recover, slot::Slot};
use crate::{Death, Running, SandboxId, Stats};

/// How old the stored time of a box's last use may be.
const REMEMBER_AFTER: Duration = Duration::from_mins(1);

/// Sweeps between two comparisons of what is stored with what is there.
const SWEEPS_PER_COMPARISON: u32 = 60;

/// Percent of a limit at which its owner is warned, and below which the next warning counts as a new one.
const WARN_AT: [u8; 2] = [80, 90];
const CALM_BELOW: u8 = 75;

/// Begins to look after boxes, until the server stops.
pub(crate) fn begin(shared: &Arc<Shared>) {
    for backend in shared.backends.iter() {
        let (shared, backend) = (Arc::clone(shared), Arc::clone(backend));
        shared.clone().tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = shared.stopping.cancelled() => return,
                    Death { id, reason } = backend.next_death() => died(&shared, id, reason).await,
                }
            }
        });
    }
    let shared = Arc::clone(shared);
    shared.clone().tracker.spawn(async move {
        let mut sweeper = Sweeper { shared: Arc::clone(&shared), seen: HashMap::new(), sweeps: 0 };
        loop {
            tokio::select! {
                () = shared.stopping.cancelled() => return,
                () = tokio::time::sleep(shared.settings.sweep_interval) => sweeper.sweep().await,
            }
        }
    });
}

async fn died(shared: &Shared, id: SandboxId, reason: String) {
    let slots: Vec<_> = shared.slots.lock().values().cloned().collect();
    match slots.into_iter().find(|slot| slot.id() == Some(id)) {
        Some(slot) => slot.died(id, reason).await,
        None => shared.pools.died(shared, id).await,
    }
}

struct Sweeper {
    shared: Arc<Shared>,
    /// What was seen of boxes that run.
    seen: HashMap<SandboxId, Seen>,
    sweeps: u32,
}

/// What was seen of a box.
#[derive(Default)]
struct Seen {
    memory: u8,
    disk: u8,
    /// Bytes on disk when it was first looked at: a box that was stopped for its disk may be started again to be cleaned.
    disk_at_start: Option<u64>,
}

impl Sweeper {
    async fn sweep(&mut self) {
        let slots: Vec<_> = self.shared.slots.lock().values().cloned().collect();
        let running: Vec<_> = slots.iter().filter_map(|slot| slot.running()).collect();
        self.seen.retain(|id, _| running.contains(id));
        for slot in slots {
            self.look_at(&slot).await;
        }
        self.sweeps = self.sweeps.wrapping_add(1);
        if self.sweeps.is_multiple_of(SWEEPS_PER_COMPARISON) {
            self.compare().await;
        }
    }

    async fn look_at(&mut self, slot: &Arc<Slot>) {
        if let (Some(retention), Some(unused)) = (self.shared.settings.retention, slot.unused())
            && unused > retention
        {
            tracing::info!(sandbox.id = ?slot.id(), "a box was not used for so long that it is removed");
            if let Err(error) = slot.destroy().await {
                tracing::warn!(%error, "an old box could not be removed; it is tried again");
            }
            return;
        }
        match slot.pause_if_idle().await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::warn!(sandbox.id = ?slot.id(), %error, "an idle box could not be put to sleep"),
        }
        if slot.unstored() > REMEMBER_AFTER {
            let _ = slot.remember().await;
        }
        self.look_at_use(slot).await;
    }

    async fn look_at_use(&mut self, slot: &Arc<Slot>) {
        let Some(id) = slot.running() else { return };
        let plan = slot.plan();
        let limits = plan.spec.limits;
        if limits.memory.is_none() && limits.disk.is_none() {
            return;
        }
        let Ok(Stats { memory, disk, disk_is_enforced, .. }) = plan.backend.stats(id).await else { return };
        let seen = self.seen.entry(id).or_default();
        if let (Some(used), Some(limit)) = (memory, limits.memory) {
            let next = "beyond it processes are killed";
            warn(slot, id, "memory", percent(used, limit), &mut seen.memory, next).await;
        }
        let (Some(used), Some(limit)) = (disk, limits.disk) else { return };
        let next = if disk_is_enforced { "beyond it writes fail" } else { "beyond it the box is stopped" };
        warn(slot, id, "disk", percent(used, limit), &mut seen.disk, next).await;
        let at_start = *seen.disk_at_start.get_or_insert(used);
        if !disk_is_enforced && used > limit.max(at_start + limit / 20) {
            let reason = format!("it used {used} bytes on disk, more than its limit of {limit}");
            if let Err(error) = slot.stop(&reason).await {
                tracing::warn!(sandbox.id = %id, %error, "a box that uses too much disk could not be stopped");
            }
        }
    }

    /// Finds deaths that nobody told, and removes what is left of boxes that are to be gone.
    async fn compare(&self) {
        recover::remove_doomed(&self.shared).await;
        recover::remove_orphans(&self.shared).await;
        for backend in self.shared.backends.iter() {
            let Ok(found) = backend.list().await else { continue };
            let slots: Vec<_> = self.shared.slots.lock().values().cloned().collect();
            for slot in slots.into_iter().filter(|slot| slot.plan().backend.name() == backend.name()) {
                let Some(id) = slot.running().filter(|_| backend.is_isolated()) else { continue };
                if !found.iter().any(|found| found.id == id && found.running != Running::No) {
                    slot.died(id, "it is not there any more".to_owned()).await;
                }
            }
        }
    }
}

fn percent(used: u64, limit: u64) -> u8 {
    u8::try_from((used.saturating_mul(100) / limit.max(1)).min(100)).unwrap_or(100)
}

/// Warns once for each of [`WARN_AT`] that is reached, and again after it was calm.
async fn warn(slot: &Slot, id: SandboxId, resource: &str, percent: u8, warned: &mut u8, next: &str) {
    if percent < CALM_BELOW {
        *warned = 0;
    }
    let Some(level) = WARN_AT.into_iter().rfind(|level| percent >= *level && *level > *warned) else { return };
    *warned = level;
    let reason = format!("{percent} % of its limit is in use; {next}");
    slot.log(id, SandboxEventBody::Warning { resource: resource.to_owned(), percent, reason }).await;
}
