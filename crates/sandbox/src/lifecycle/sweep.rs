//! Deadlines, deaths, disks and memory.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use longshore_protocol::sandbox::SandboxEventBody;
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};

use super::{
    Shared, recover,
    slot::{Run, Slot},
};
use crate::{Backend, Death, Running, SandboxId, Stats};

/// How old the stored time of a box's last use may be.
const REMEMBER_AFTER: Duration = Duration::from_mins(1);

/// Sweeps between two comparisons of what is stored with what is there.
const SWEEPS_PER_COMPARISON: u32 = 60;

/// Percent of a limit at which its owner is warned, and below which the next warning counts as a new one.
const WARN_AT: [u8; 2] = [80, 90];
const CALM_BELOW: u8 = 75;

/// Boxes that are looked at at the same time, and how long a look may take.
const LOOKS: usize = 16;
const LOOK_LIMIT: Duration = Duration::from_mins(2);

/// Begins to look after boxes, until the server stops.
pub(crate) fn begin(shared: &Arc<Shared>) {
    for backend in shared.backends.iter() {
        shared.tracker.spawn(hear_deaths(Arc::clone(shared), Arc::clone(backend)));
    }
    shared.tracker.spawn(Sweeper::new(shared).run());
    shared.tracker.spawn(compare_often(Arc::clone(shared)));
}

async fn hear_deaths(shared: Arc<Shared>, backend: Arc<dyn Backend>) {
    loop {
        let Death { id, reason } = tokio::select! {
            () = shared.stopping.cancelled() => return,
            death = backend.next_death() => death,
        };
        // Another box may die while somebody is busy with this one.
        let shared = Arc::clone(&shared);
        shared.clone().tracker.spawn(async move { died(&shared, id, reason).await });
    }
}

async fn died(shared: &Shared, id: SandboxId, reason: String) {
    if shared.pools.died(shared, id).await {
        return;
    }
    let slots: Vec<_> = shared.slots.lock().values().cloned().collect();
    let dead = slots.into_iter().find_map(|slot| Some((slot.latest_run().filter(|run| run.id == id)?, slot)));
    if let Some((run, slot)) = dead {
        slot.died(run, reason).await;
    }
}

/// Looks at every box now and then. One that takes long keeps nobody from looking at the others.
struct Sweeper {
    shared: Arc<Shared>,
    looks: JoinSet<(SandboxId, Seen)>,
    turns: Arc<Semaphore>,
    /// What was seen of each box; nothing while somebody looks at it.
    seen: HashMap<SandboxId, Option<Seen>>,
}

/// What was seen of a box.
#[derive(Default)]
struct Seen {
    memory: u8,
    disk: u8,
    /// Bytes on disk when it was stopped for them: it may be started again to be cleaned.
    stopped_at: Option<u64>,
}

impl Sweeper {
    fn new(shared: &Arc<Shared>) -> Self {
        let (looks, turns) = (JoinSet::new(), Arc::new(Semaphore::new(LOOKS)));
        Self { shared: Arc::clone(shared), looks, turns, seen: HashMap::new() }
    }

    async fn run(mut self) {
        loop {
            let next = tokio::time::sleep(self.shared.settings.sweep_interval);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = self.shared.stopping.cancelled() => {
                        // What is begun is finished.
                        while self.looks.join_next().await.is_some() {}
                        return;
                    }
                    Some(looked) = self.looks.join_next() => self.remember(looked),
                    () = &mut next => break,
                }
            }
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let slots: Vec<_> = self.shared.slots.lock().values().cloned().collect();
        let slots: HashMap<_, _> = slots.into_iter().filter_map(|slot| Some((slot.id()?, slot))).collect();
        self.seen.retain(|id, seen| seen.is_none() || slots.contains_key(id));
        self.shared.tally.keep(|id| slots.contains_key(&id));
        for (id, slot) in slots {
            let Some(mut seen) = self.seen.entry(id).or_insert_with(|| Some(Seen::default())).take() else { continue };
            let (shared, turns) = (Arc::clone(&self.shared), Arc::clone(&self.turns));
            self.looks.spawn(async move {
                let _turn = turns.acquire().await;
                if tokio::time::timeout(LOOK_LIMIT, look_at(&shared, &slot, &mut seen)).await.is_err() {
                    tracing::warn!(sandbox.id = %id, "to look after a box takes too long; it is tried again");
                }
                (id, seen)
            });
        }
    }

    fn remember(&mut self, looked: Result<(SandboxId, Seen), JoinError>) {
        match looked {
            Ok((id, seen)) => drop(self.seen.insert(id, Some(seen))),
            Err(cause) => {
                tracing::error!(%cause, "to look after a box ended in a panic");
                self.seen.clear();
            }
        }
    }
}

async fn look_at(shared: &Shared, slot: &Arc<Slot>, seen: &mut Seen) {
    if let (Some(retention), Some(unused)) = (shared.settings.retention, slot.unused())
        && unused > retention
    {
        tracing::info!(sandbox.id = ?slot.id(), "a box was not used for so long that it is removed");
        let slot = Arc::clone(slot);
        // Apart, since a removal that is given up midway would leave a box that is doomed and still used.
        let removed = shared.tracker.spawn(async move { slot.destroy().await });
        if let Ok(Err(error)) = removed.await {
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
    look_at_use(slot, seen).await;
}

async fn look_at_use(slot: &Slot, seen: &mut Seen) {
    let Some(Run { id, .. }) = slot.running() else { return };
    let plan = slot.plan();
    let limits = plan.spec.limits;
    if limits.memory.is_none() && limits.disk.is_none() {
        return;
    }
    let Ok(stats) = plan.backend.stats(id).await else { return };
    slot.shared.tally.measured(id, stats, &limits);
    let Stats { memory, disk, disk_is_enforced, .. } = stats;
    if let (Some(used), Some(limit)) = (memory, limits.memory) {
        let next = "beyond it processes are killed";
        warn(slot, id, "memory", percent(used, limit), &mut seen.memory, next).await;
    }
    let (Some(used), Some(limit)) = (disk, limits.disk) else { return };
    let next = if disk_is_enforced { "beyond it writes fail" } else { "beyond it the box is stopped" };
    warn(slot, id, "disk", percent(used, limit), &mut seen.disk, next).await;
    if used <= limit {
        seen.stopped_at = None;
    }
    let most = seen.stopped_at.map_or(limit, |used| used.saturating_add(limit / 20));
    if !disk_is_enforced && used > most {
        seen.stopped_at = Some(used);
        let reason = format!("it used {used} bytes on disk, more than its limit of {limit}");
        if let Err(error) = slot.stop(&reason).await {
            tracing::warn!(sandbox.id = %id, %error, "a box that uses too much disk could not be stopped");
        }
    }
}

/// Finds deaths that nobody told, and removes what is left of boxes that are to be gone.
async fn compare_often(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(shared.settings.sweep_interval * SWEEPS_PER_COMPARISON) => compare(&shared).await,
        }
    }
}

async fn compare(shared: &Shared) {
    recover::remove_doomed(shared).await;
    recover::remove_orphans(shared).await;
    for backend in shared.backends.iter().filter(|backend| backend.is_isolated()) {
        let slots: Vec<_> = shared.slots.lock().values().cloned().collect();
        // Those that run before the list is made must be on it.
        let running: Vec<_> = slots
            .into_iter()
            .filter(|slot| slot.plan().backend.name() == backend.name())
            .filter_map(|slot| Some((slot.running()?, slot)))
            .collect();
        let Ok(found) = backend.list().await else { continue };
        let found: HashSet<_> =
            found.into_iter().filter(|found| found.running != Running::No).map(|found| found.id).collect();
        for (run, slot) in running.into_iter().filter(|(run, _)| !found.contains(&run.id)) {
            slot.died(run, "it is not there any more".to_owned()).await;
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
