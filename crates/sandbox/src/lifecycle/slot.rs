//! The box of one place, and what it is doing.

use std::{sync::Arc, time::Duration};

use longshore_protocol::{
    UtcTime,
    sandbox::{ResourceLimits, SandboxEvent, SandboxEventBody, SandboxInfo, SandboxState},
};
use longshore_store::{At, Sandbox, SandboxChange};
use longshore_workspace::Workspace;
use parking_lot::Mutex;
use tokio::{sync::broadcast, time::Instant};

use super::{
    Key, Shared,
    house::House,
    journal::now,
    plan::{self, Plan},
    pool::Pooled,
    recover,
};
use crate::{Error, Running, SandboxId};

/// Events that a slow watcher may be behind.
const MAX_BEHIND: usize = 256;

/// The box of one place, or where it will be.
///
/// `inner` is held for moments only. What takes time is done by whoever holds `transition`; the state says what may be done
/// meanwhile.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) shared: Arc<Shared>,
    key: Key,
    transition: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
    watchers: broadcast::Sender<SandboxEvent>,
}

#[derive(Debug)]
struct Inner {
    plan: Plan,
    /// None while there is no row.
    made: Option<Made>,
    /// None unless the box runs or sleeps.
    house: Option<House>,
    state: SandboxState,
    reason: String,
    /// How many use it now or want it awake.
    uses: usize,
    used: Instant,
    used_at: UtcTime,
    /// The latest use that is stored.
    stored_at: UtcTime,
    /// Counts tries to bring it up, and how the last one failed.
    tries: u64,
    failure: Option<Error>,
    /// Counts starts.
    starts: u64,
    /// Whether nobody may have a box here any more.
    is_forgotten: bool,
    /// Why the box that is here may not be used, until it is removed.
    blocked: Option<Error>,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    id: SandboxId,
    at: UtcTime,
}

/// A box from one start to the next, so that the death of one is not taken for that of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: SandboxId,
    start: u64,
}

/// A use of a box that runs. While it lives the box does not sleep.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) workspace: Arc<dyn Workspace>,
    _awake: Awake,
}

/// Keeps the box of a slot awake if it is.
#[derive(Debug)]
pub(crate) struct Awake(Arc<Slot>);

impl Drop for Awake {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.uses -= 1;
        inner.touch();
    }
}

impl Inner {
    fn touch(&mut self) {
        self.used = Instant::now();
        self.used_at = now();
    }
}

impl Slot {
    /// A place without a box.
    pub(crate) fn new(shared: Arc<Shared>, key: Key, plan: Plan) -> Self {
        let at = now();
        let inner = Inner {
            plan,
            made: None,
            house: None,
            state: SandboxState::Queued,
            reason: String::new(),
            uses: 0,
            used: Instant::now(),
            used_at: at,
            stored_at: at,
            tries: 0,
            failure: None,
            starts: 0,
            is_forgotten: false,
            blocked: None,
        };
        let (watchers, _) = broadcast::channel(MAX_BEHIND);
        Self { shared, key, transition: tokio::sync::Mutex::new(()), inner: Mutex::new(inner), watchers }
    }

    /// A place with a box that the last server left.
    pub(crate) fn found(
        shared: Arc<Shared>,
        key: Key,
        plan: Plan,
        row: &Sandbox,
        running: Running,
    ) -> Result<Self, Error> {
        let slot = Self::new(shared, key, plan);
        let id = SandboxId(row.id);
        let mut inner = slot.inner.lock();
        inner.made = Some(Made { id, at: row.created_at });
        (inner.used_at, inner.stored_at) = (row.used_at, row.used_at);
        // Time goes on while no server runs. A machine that is younger than the last use has no such moment.
        let unused = Duration::try_from(now().0.duration_since(row.used_at.0)).unwrap_or_default();
        inner.used = inner.used.checked_sub(unused).unwrap_or(inner.used);
        (inner.state, inner.reason) = (row.state, row.reason.clone());
        if running != Running::No {
            let mut house = House::new(id, &inner.plan)?;
            house.open_egress(&slot.shared, &inner.plan, &slot.watchers);
            inner.house = Some(house);
            inner.state = if running == Running::Yes { SandboxState::Ready } else { SandboxState::Paused };
        }
        drop(inner);
        Ok(slot)
    }

    pub(crate) fn id(&self) -> Option<SandboxId> {
        self.inner.lock().made.map(|made| made.id)
    }

    /// What the box is doing; nothing if there is none yet.
    pub(crate) fn state(&self) -> Option<SandboxState> {
        let inner = self.inner.lock();
        inner.made.map(|_| inner.state)
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<SandboxEvent> {
        self.watchers.subscribe()
    }

    pub(crate) fn plan(&self) -> Plan {
        self.inner.lock().plan.clone()
    }

    /// Another plan for a place that has no box yet.
    pub(crate) fn replan(&self, plan: impl FnOnce() -> Result<Plan, Error>) -> Result<(), Error> {
        if self.inner.lock().made.is_some() {
            return Ok(());
        }
        let plan = plan()?;
        let mut inner = self.inner.lock();
        if inner.made.is_none() {
            inner.plan = plan;
        }
        Ok(())
    }

    pub(crate) fn info(&self) -> Option<SandboxInfo> {
        let inner = self.inner.lock();
        let made = inner.made?;
        Some(SandboxInfo {
            id: made.id.to_string(),
            backend: inner.plan.backend.name().to_owned(),
            state: inner.state,
            reason: inner.reason.clone(),
            options: inner.plan.options.clone(),
            working_dir: inner.plan.spec.working_dir.to_string_lossy().into_owned(),
            created_at: made.at,
            used_at: inner.used_at,
        })
    }

    /// Uses the box; makes, starts or wakes it if need be. Whoever comes meanwhile waits for the same work.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Use, Error> {
        if let Some(used) = self.try_enter() {
            return Ok(used);
        }
        let before = self.inner.lock().tries;
        let slot = Arc::clone(self);
        // Apart from whoever asked: a box that is half made is made, also if nobody waits for it any more.
        let work = self.shared.tracker.spawn(async move {
            let _turn = slot.transition.lock().await;
            if let Some(used) = slot.try_enter() {
                return Ok(used);
            }
            if let Some(failure) = slot.failure_since(before) {
                return Err(failure);
            }
            slot.check_open()?;
            let outcome = slot.bring_up().await;
            {
                let mut inner = slot.inner.lock();
                inner.tries += 1;
                inner.failure = outcome.as_ref().err().cloned();
            }
            outcome?;
            slot.try_enter().ok_or_else(|| Error::Gone("it ended as soon as it was started".to_owned()))
        });
        work.await.unwrap_or_else(|cause| Err(Error::failed("make a box", cause)))
    }

    /// Whether a box may be made, started or woken here.
    fn check_open(&self) -> Result<(), Error> {
        if self.inner.lock().is_forgotten {
            return Err(Error::Gone("the conversation or workspace that it was for was deleted".to_owned()));
        }
        if self.shared.stopping.is_cancelled() {
            return Err(Error::Gone("the server is stopping".to_owned()));
        }
        Ok(())
    }

    /// Uses the box if it is ready.
    fn try_enter(self: &Arc<Self>) -> Option<Use> {
        let mut inner = self.inner.lock();
        if inner.state != SandboxState::Ready {
            return None;
        }
        let workspace = Arc::clone(&inner.house.as_ref()?.workspace);
        inner.uses += 1;
        inner.touch();
        drop(inner);
        Some(Use { workspace, _awake: Awake(Arc::clone(self)) })
    }

    /// Notes a use of something that is open in the box; false if the box must be woken for it.
    pub(crate) fn touch(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.touch();
        inner.state == SandboxState::Ready
    }

    pub(crate) fn stay_awake(self: &Arc<Self>) -> Awake {
        self.inner.lock().uses += 1;
        Awake(Arc::clone(self))
    }

    fn failure_since(&self, before: u64) -> Option<Error> {
        let inner = self.inner.lock();
        inner.failure.clone().filter(|_| inner.tries > before)
    }

    /// To be called by the holder of `transition`.
    async fn bring_up(self: &Arc<Self>) -> Result<(), Error> {
        let (made, state, plan) = {
            let inner = self.inner.lock();
            if let Some(error) = &inner.blocked {
                return Err(error.clone());
            }
            (inner.made, inner.state, inner.plan.clone())
        };
        if let (Some(made), SandboxState::Paused) = (made, state) {
            match plan.backend.resume(made.id).await {
                Ok(()) if self.answers().await => {
                    self.tell(made.id, SandboxState::Ready, "it is used again").await;
                    return Ok(());
                }
                // What is killed while it is halted dies when it goes on.
                Ok(()) => self.lose(made.id, "it ended while it slept".to_owned()).await,
                Err(Error::Gone(reason)) => self.lose(made.id, reason).await,
                Err(error) => return Err(error),
            }
        }
        let id = if let Some(made) = made {
            made.id
        } else {
            // Others count while this one is not there yet.
            let _room = self.shared.room.lock().await;
            self.check_room()?;
            if self.take_from_pool(&plan).await? {
                return Ok(());
            }
            self.insert(&plan).await?
        };
        match self.raise(id, &plan).await {
            Ok(mut house) => {
                house.open_egress(&self.shared, &plan, &self.watchers);
                self.inner.lock().house = Some(house);
                self.tell(id, SandboxState::Ready, "it was started").await;
                Ok(())
            }
            Err(error) => {
                self.tell(id, SandboxState::Failed, error.to_string()).await;
                Err(error)
            }
        }
    }

    /// Whether the box does what it is asked.
    async fn answers(&self) -> bool {
        let workspace = self.inner.lock().house.as_ref().map(|house| Arc::clone(&house.workspace));
        match workspace {
            Some(workspace) => workspace.metadata("/".as_ref()).await.is_ok(),
            None => false,
        }
    }

    /// A row before the box.
    async fn insert(&self, plan: &Plan) -> Result<SandboxId, Error> {
        let (id, at) = (SandboxId::random(), now());
        let row = row(id, Some(&self.key), plan, at);
        let is_new = self.shared.store.create_sandbox(row).await;
        if !is_new.map_err(|cause| Error::failed("store a box", cause))? {
            return Err(Error::Gone("another server has a box for this place".to_owned()));
        }
        self.inner.lock().made = Some(Made { id, at });
        Ok(id)
    }

    fn check_room(&self) -> Result<(), Error> {
        let slots: Vec<_> = self.shared.slots.lock().values().cloned().collect();
        let (count, most) = (slots.iter().filter(|slot| slot.id().is_some()).count(), self.shared.settings.max_boxes);
        if count < most {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "there are {most} boxes already, as many as may be here: remove one that is not needed"
        )))
    }

    async fn take_from_pool(&self, plan: &Plan) -> Result<bool, Error> {
        let taken = self.shared.pools.take(plan, |Pooled { house, made_at, .. }| {
            let id = house.id;
            let mut inner = self.inner.lock();
            (inner.made, inner.house) = (Some(Made { id, at: made_at }), Some(house));
            id
        });
        let Some(id) = taken else { return Ok(false) };
        let Key { owner, at } = &self.key;
        let claimed = self.shared.store.claim_sandbox(id.0, owner, *at, now()).await;
        if !matches!(claimed, Ok(true)) {
            {
                let mut inner = self.inner.lock();
                (inner.made, inner.house) = (None, None);
            }
            recover::remove(&self.shared, &*plan.backend, id).await;
            return claimed.map_err(|cause| Error::failed("store whose box it is", cause));
        }
        if let Some(house) = &mut self.inner.lock().house {
            house.open_egress(&self.shared, plan, &self.watchers);
        }
        self.tell(id, SandboxState::Ready, "it was waiting in the pool").await;
        Ok(true)
    }

    async fn raise(self: &Arc<Self>, id: SandboxId, plan: &Plan) -> Result<House, Error> {
        let slot = Arc::clone(self);
        let last = Mutex::new(None);
        let progress = move |what: &str, percent: Option<u8>| {
            // A step of ten is enough for those who wait, and for the disk.
            let step = (what.to_owned(), percent.map(|percent| percent / 10));
            if last.lock().replace(step.clone()) != Some(step) {
                slot.tell_progress(id, what, percent);
            }
        };
        plan.backend.prepare(&plan.spec, &progress).await?;
        let starting = &self.shared.starting;
        let turn = if let Ok(turn) = starting.try_acquire() {
            turn
        } else {
            self.tell(id, SandboxState::Queued, "other boxes are being started").await;
            starting.acquire().await.map_err(|cause| Error::failed("start a box", cause))?
        };
        self.tell(id, SandboxState::Starting, "it is made").await;
        self.inner.lock().starts += 1;
        let house = raise(id, plan).await;
        drop(turn);
        house
    }

    /// To be called by the holder of `transition`.
    async fn lose(&self, id: SandboxId, reason: String) {
        self.inner.lock().house = None;
        self.tell(id, SandboxState::Lost, reason).await;
    }

    /// Lets nobody use the box that is here, for a reason that its owner is told.
    pub(crate) fn block(&self, error: Error) {
        let mut inner = self.inner.lock();
        inner.state = SandboxState::Failed;
        inner.reason = error.to_string();
        inner.blocked = Some(error);
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.inner.lock().blocked.is_some()
    }

    /// The box ended while no server ran.
    pub(crate) async fn found_lost(&self, id: SandboxId) {
        self.lose(id, "it ended while the server was not running".to_owned()).await;
    }

    /// The box as it was last started, or is being started.
    pub(crate) fn latest_run(&self) -> Option<Run> {
        let inner = self.inner.lock();
        inner.made.map(|made| Run { id: made.id, start: inner.starts })
    }

    /// The box ended without being asked to.
    pub(crate) async fn died(&self, run: Run, reason: String) {
        let _turn = self.transition.lock().await;
        // Somebody may have found out sooner, and started it again.
        if self.latest_run() == Some(run) && self.inner.lock().house.is_some() {
            tracing::warn!(sandbox.id = %run.id, reason, "a box was lost");
            self.lose(run.id, reason).await;
        }
    }

    /// Puts the box to sleep.
    pub(crate) async fn pause(&self, reason: &str) -> Result<(), Error> {
        self.pause_if(reason, |_| true).await.map(drop)
    }

    /// Puts the box to sleep if nobody has used it for as long as its plan says.
    pub(crate) async fn pause_if_idle(&self) -> Result<bool, Error> {
        let is_idle = |inner: &Inner| {
            let timeout = inner.plan.idle_timeout;
            inner.uses == 0 && timeout.is_some_and(|timeout| inner.used.elapsed() >= timeout)
        };
        let may_be = {
            let inner = self.inner.lock();
            inner.state == SandboxState::Ready && inner.plan.backend.is_isolated() && is_idle(&inner)
        };
        if !may_be {
            return Ok(false);
        }
        self.pause_if("nobody used it", is_idle).await
    }

    async fn pause_if(&self, reason: &str, condition: impl Fn(&Inner) -> bool) -> Result<bool, Error> {
        let _turn = self.transition.lock().await;
        let (id, backend) = {
            let mut inner = self.inner.lock();
            if inner.house.is_some() && inner.state == SandboxState::Paused {
                return Ok(false);
            }
            let Some(house) = inner.house.as_ref().filter(|_| inner.state == SandboxState::Ready) else {
                return Err(Error::Gone("it does not run".to_owned()));
            };
            if !condition(&inner) {
                return Ok(false);
            }
            let id = house.id;
            // From here on nobody enters.
            inner.state = SandboxState::Paused;
            (id, Arc::clone(&inner.plan.backend))
        };
        match backend.pause(id).await {
            Ok(()) => self.tell(id, SandboxState::Paused, reason).await,
            Err(Error::Gone(reason)) => self.lose(id, reason).await,
            Err(error) => {
                self.inner.lock().state = SandboxState::Ready;
                return Err(error);
            }
        }
        self.remember().await?;
        Ok(true)
    }

    /// Ends the box's processes; its files stay.
    pub(crate) async fn stop(&self, reason: &str) -> Result<(), Error> {
        let _turn = self.transition.lock().await;
        let (id, backend) = {
            let mut inner = self.inner.lock();
            let Some(house) = inner.house.take() else { return Ok(()) };
            inner.state = SandboxState::Stopped;
            (house.id, Arc::clone(&inner.plan.backend))
        };
        self.tell(id, SandboxState::Stopped, reason).await;
        backend.stop(id).await?;
        self.remember().await
    }

    /// Changes what the box may use.
    pub(crate) async fn set_limits(&self, limits: ResourceLimits) -> Result<(), Error> {
        let _turn = self.transition.lock().await;
        let (made, plan) = {
            let inner = self.inner.lock();
            (inner.made.ok_or_else(super::no_box)?, inner.plan.clone())
        };
        let plan = plan::with_limits(&self.shared.settings, &self.shared.backends, &plan, limits)?;
        plan.backend.set_limits(made.id, &plan.spec.limits).await?;
        let change = SandboxChange { options: Some(plan.options.clone()), ..SandboxChange::new(now()) };
        self.inner.lock().plan = plan;
        let stored = self.shared.store.change_sandbox(made.id.0, change).await;
        stored.map(drop).map_err(|cause| Error::failed("store the limits of a box", cause))
    }

    /// Removes the box with all that is in it.
    pub(crate) async fn destroy(&self) -> Result<(), Error> {
        let _turn = self.transition.lock().await;
        let (made, backend) = {
            let inner = self.inner.lock();
            let Some(made) = inner.made else { return Ok(()) };
            (made, Arc::clone(&inner.plan.backend))
        };
        // Wishes that came before must not come to the disk after this one.
        self.shared.journal.flush().await;
        recover::doom(&self.shared, made.id).await?;
        {
            let mut inner = self.inner.lock();
            (inner.made, inner.house, inner.blocked) = (None, None, None);
            inner.state = SandboxState::Queued;
        }
        recover::raze(&self.shared, &*backend, made.id).await;
        Ok(())
    }

    /// Removes the box; there is none here ever after.
    pub(crate) async fn forget(&self) -> Result<(), Error> {
        self.inner.lock().is_forgotten = true;
        self.destroy().await
    }

    /// Stores when the box was last used.
    pub(crate) async fn remember(&self) -> Result<(), Error> {
        let (id, used_at) = {
            let mut inner = self.inner.lock();
            let Some(made) = inner.made.filter(|_| inner.used_at > inner.stored_at) else { return Ok(()) };
            inner.stored_at = inner.used_at;
            (made.id, inner.used_at)
        };
        let change = SandboxChange { used_at: Some(used_at), ..SandboxChange::new(now()) };
        self.shared.journal.note(id, change, &self.watchers).await;
        Ok(())
    }

    /// How long the latest use that is not stored has been so.
    pub(crate) fn unstored(&self) -> Duration {
        let inner = self.inner.lock();
        let unstored = inner.used_at.0.duration_since(inner.stored_at.0);
        Duration::try_from(unstored).unwrap_or_default()
    }

    /// How long ago the box was last used; nothing if there is none, or it is used now.
    pub(crate) fn unused(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        inner.made?;
        (inner.uses == 0).then(|| Duration::try_from(now().0.duration_since(inner.used_at.0)).unwrap_or_default())
    }

    /// The box, if it runs and is awake.
    pub(crate) fn running(&self) -> Option<Run> {
        let inner = self.inner.lock();
        let house = inner.house.as_ref().filter(|_| inner.state == SandboxState::Ready)?;
        Some(Run { id: house.id, start: inner.starts })
    }

    /// Logs something about the box.
    pub(crate) async fn log(&self, id: SandboxId, body: SandboxEventBody) {
        let change = SandboxChange { events: vec![body], ..SandboxChange::new(now()) };
        self.shared.journal.note(id, change, &self.watchers).await;
    }

    async fn tell(&self, id: SandboxId, state: SandboxState, reason: impl Into<String>) {
        let reason = reason.into();
        {
            let mut inner = self.inner.lock();
            inner.state = state;
            inner.reason.clone_from(&reason);
        }
        self.shared.tally.changed(state);
        let body = SandboxEventBody::State { state, reason: reason.clone(), progress: None };
        let change = SandboxChange { state: Some((state, reason)), events: vec![body], ..SandboxChange::new(now()) };
        self.shared.journal.note(id, change, &self.watchers).await;
    }

    fn tell_progress(&self, id: SandboxId, reason: &str, progress: Option<u8>) {
        let state = SandboxState::Pulling;
        {
            let mut inner = self.inner.lock();
            inner.state = state;
            reason.clone_into(&mut inner.reason);
        }
        let body = SandboxEventBody::State { state, reason: reason.to_owned(), progress };
        let state = Some((state, reason.to_owned()));
        let change = SandboxChange { state, events: vec![body], ..SandboxChange::new(now()) };
        self.shared.journal.note_if_room(id, change, &self.watchers);
    }
}

/// Makes and starts a box.
pub(crate) async fn raise(id: SandboxId, plan: &Plan) -> Result<House, Error> {
    plan.backend.create(id, &plan.spec).await?;
    plan.backend.start(id, &plan.spec).await?;
    House::new(id, plan)
}

/// The row of a box that is about to be made.
pub(crate) fn row(id: SandboxId, key: Option<&Key>, plan: &Plan, at: UtcTime) -> Sandbox {
    Sandbox {
        id: id.0,
        owner: key.map(|key| key.owner.clone()),
        at: key.map_or(At::Own, |key| key.at),
        backend: plan.backend.name().to_owned(),
        options: plan.options.clone(),
        working_dir: plan.spec.working_dir.to_string_lossy().into_owned(),
        state: SandboxState::Queued,
        reason: "it is about to be made".to_owned(),
        is_doomed: false,
        created_at: at,
        used_at: at,
    }
}
