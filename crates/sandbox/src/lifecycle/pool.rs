//! Boxes that are made before anybody asks.

use std::{sync::Arc, time::Duration};

use longshore_protocol::UtcTime;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Shared,
    house::House,
    journal::now,
    plan::{self, Plan},
    recover,
    slot::{raise, row},
};
use crate::{Error, SandboxId};

/// How long a pool that cannot be filled is left alone.
const RETRY: Duration = Duration::from_secs(30);

/// Boxes that wait to be given out.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    waiting: Mutex<Vec<Pooled>>,
    taken: Notify,
}

/// A box that waits.
#[derive(Debug)]
pub(crate) struct Pooled {
    pub(crate) house: House,
    pub(crate) made_at: UtcTime,
    plan: Plan,
}

impl Pools {
    /// Has `keep` put a box elsewhere that is as `plan` wants it, if one waits. Whoever looks for the box finds it here or
    /// there.
    pub(crate) fn take<T>(&self, plan: &Plan, keep: impl FnOnce(Pooled) -> T) -> Option<T> {
        let mut waiting = self.waiting.lock();
        let index = waiting.iter().position(|pooled| same(&pooled.plan, plan))?;
        let kept = keep(waiting.remove(index));
        self.taken.notify_one();
        Some(kept)
    }

    /// A box ended. False if it does not wait here.
    pub(crate) async fn died(&self, shared: &Shared, id: SandboxId) -> bool {
        let pooled = {
            let mut waiting = self.waiting.lock();
            waiting.iter().position(|pooled| pooled.house.id == id).map(|index| waiting.remove(index))
        };
        let Some(Pooled { plan, .. }) = pooled else { return false };
        recover::remove(shared, &*plan.backend, id).await;
        self.taken.notify_one();
        true
    }

    /// Removes all boxes that wait: the next server makes its own.
    async fn clear(&self, shared: &Shared) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for Pooled { house, plan, .. } in waiting {
            recover::remove(shared, &*plan.backend, house.id).await;
        }
    }

    /// How many boxes wait.
    pub(crate) fn count_all(&self) -> usize {
        self.waiting.lock().len()
    }

    fn count(&self, plan: &Plan) -> usize {
        self.waiting.lock().iter().filter(|pooled| same(&pooled.plan, plan)).count()
    }
}

fn same(one: &Plan, other: &Plan) -> bool {
    one.options == other.options && one.spec == other.spec
}

/// Keeps the pools full, until the server stops.
pub(crate) fn begin(shared: &Arc<Shared>) {
    if shared.settings.pools.iter().all(|pool| pool.size == 0) {
        return;
    }
    let shared = Arc::clone(shared);
    shared.clone().tracker.spawn(async move {
        while !shared.stopping.is_cancelled() {
            let outcome = fill(&shared).await;
            let rest = async {
                match outcome {
                    Ok(()) => shared.pools.taken.notified().await,
                    Err(error) => {
                        tracing::warn!(%error, "a pool could not be filled");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            tokio::select! {
                () = shared.stopping.cancelled() => {}
                () = rest => {}
            }
        }
        shared.pools.clear(&shared).await;
    });
}

async fn fill(shared: &Arc<Shared>) -> Result<(), Error> {
    for pool in &shared.settings.pools {
        let plan = plan::plan(&shared.settings, &shared.backends, &pool.options)?;
        while shared.pools.count(&plan) < pool.size && !shared.stopping.is_cancelled() {
            let pooled = make(shared, &plan).await?;
            shared.pools.waiting.lock().push(pooled);
        }
    }
    Ok(())
}

async fn make(shared: &Arc<Shared>, plan: &Plan) -> Result<Pooled, Error> {
    let (id, made_at) = (SandboxId::random(), now());
    let stored = shared.store.create_sandbox(row(id, None, plan, made_at)).await;
    stored.map_err(|cause| Error::failed("store a pooled box", cause))?;
    let raised = async {
        // It may take long, and leaves nothing behind.
        tokio::select! {
            () = shared.stopping.cancelled() => return Err(Error::Gone("the server is stopping".to_owned())),
            prepared = plan.backend.prepare(&plan.spec, &|_, _| {}) => prepared?,
        }
        let _turn = shared.starting.acquire().await.map_err(|cause| Error::failed("start a box", cause))?;
        let house = raise(id, plan).await?;
        // Whoever gets it is not to wait for the first connection.
        let root = house.workspace.metadata("/".as_ref()).await;
        root.map_err(|cause| Error::failed("reach a pooled box", cause))?;
        Ok(house)
    };
    match raised.await {
        Ok(house) => Ok(Pooled { house, made_at, plan: plan.clone() }),
        Err(error) => {
            recover::remove(shared, &*plan.backend, id).await;
            Err(error)
        }
    }
}
