//! Boxes from first use to the end.
//!
//! ```text
//!           first use                idle                     retention
//!  (a row) ──────────► starting ──► ready ◄──────► paused ──► destroyed
//!                         ▲          │ it dies        │
//!                         └── lost ◄─┴────────────────┘
//! ```
//!
//! A place is what has a box: a user, one conversation, or a workspace that a user made. [`Place`] is its workspace; it makes, wakes or starts the box
//! when it is used, so whoever works in it never sees where the box is in its life. A box is a row before it is anything
//! else, and stays one until nothing of it is left, so that a server that dies at any moment leaves nothing that the next
//! one does not find. Deadlines are stored; one sweeper looks at them.

mod census;
mod house;
mod journal;
mod place;
mod plan;
mod pool;
mod recover;
mod settings;
mod slot;
mod sweep;
mod watched;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_protocol::{
    ConversationId,
    conversation::LocalWorkspace,
    sandbox::{ResourceLimits, SandboxEvent, SandboxInfo, SandboxOptions, SandboxState},
};
use longshore_store::{At, Owner, Seq, Store};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{census::Tally, journal::Journal, plan::Plan, pool::Pools, slot::Slot};
pub use self::{
    census::{Census, Usage},
    place::Place,
    settings::{OnShutdown, Pool, Settings},
};
use crate::{Backends, Error, egress::Networks};

/// How long boxes may take to end when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// What has a box: one of a user's places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) owner: Owner,
    pub(crate) at: At,
}

/// All boxes of all users. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    shared: Arc<Shared>,
}

/// What all boxes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) backends: Backends,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    /// Held while a place without a box gets one, so that no more are counted than there may be.
    pub(crate) room: tokio::sync::Mutex<()>,
    /// One for each box that may be made at this moment.
    pub(crate) starting: Semaphore,
    pub(crate) slots: Mutex<HashMap<Key, Arc<Slot>>>,
    pub(crate) pools: Pools,
    pub(crate) tally: Tally,
    pub(crate) tracker: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl Sandboxes {
    /// Boxes made by `backends` and remembered in `store`. Does nothing before [`Sandboxes::recover`].
    pub fn new(settings: Settings, backends: Backends, store: Arc<dyn Store>) -> Self {
        let shared = Shared {
            journal: Journal::new(Arc::clone(&store)),
            starting: Semaphore::new(settings.max_starting.clamp(1, 1024)),
            room: tokio::sync::Mutex::default(),
            pools: Pools::default(),
            tally: Tally::default(),
            slots: Mutex::default(),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            settings,
            backends,
            store,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Finds the boxes that the last server left, removes those that nobody knows, and begins to watch: deadlines, deaths,
    /// disks, pools. To be called once, before anybody asks.
    ///
    /// # Errors
    /// [`Error::Failed`] if the stored boxes cannot be read. A backend that cannot be asked now is asked again later.
    pub async fn recover(&self) -> Result<(), Error> {
        recover::recover(&self.shared).await?;
        sweep::begin(&self.shared);
        pool::begin(&self.shared);
        Ok(())
    }

    /// Whether a box with these options could be asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`] says which option cannot be had.
    pub fn check(&self, wish: &SandboxOptions) -> Result<(), Error> {
        self.options(wish).map(drop)
    }

    /// What a box is made from that is wished for like this: the operator's choices where the wish has none.
    ///
    /// # Errors
    /// [`Error::Invalid`] says which option cannot be had.
    pub fn options(&self, wish: &SandboxOptions) -> Result<SandboxOptions, Error> {
        plan::plan(&self.shared.settings, &self.shared.backends, wish).map(|plan| plan.options)
    }

    /// Whether what the operator set makes sense: boxes of those who ask for nothing, pools, networks.
    ///
    /// # Errors
    /// [`Error::Invalid`] says what does not.
    pub fn check_settings(&self) -> Result<(), Error> {
        let Shared { settings, backends, .. } = &*self.shared;
        Networks::parse(&settings.private_allowed)?;
        plan::plan(settings, backends, &SandboxOptions::default())?;
        settings.pools.iter().try_for_each(|pool| plan::plan(settings, backends, &pool.options).map(drop))
    }

    /// The folder in a box that a client means by `folder`: in a box a relative one starts at its root, without isolation in
    /// the server's own folder.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such backend, [`Error::Failed`] if the server's own folder is unknown.
    pub fn folder(&self, wish: &SandboxOptions, folder: &str) -> Result<PathBuf, Error> {
        let name = wish.backend.as_deref().or(self.shared.settings.defaults.backend.as_deref());
        if self.shared.backends.find(name)?.is_isolated() {
            return Ok(plan::folder_in_box(folder));
        }
        std::path::absolute(folder).map_err(|cause| Error::failed("resolve the working folder", cause))
    }

    /// Which of its user's places a conversation with this workspace works in.
    pub fn at(&self, workspace: &LocalWorkspace, conversation: ConversationId) -> At {
        match workspace.workspace_id {
            Some(id) => At::Workspace(id),
            None if self.has_own(workspace) => At::Conversation(conversation),
            None => At::Own,
        }
    }

    /// Whether a conversation with this workspace has a box for itself.
    pub fn has_own(&self, workspace: &LocalWorkspace) -> bool {
        workspace.sandbox.is_some() || (self.shared.settings.per_conversation && workspace.workspace_id.is_none())
    }

    /// The workspace at one of a user's places. Nothing is made before it is used. If the
    /// place has a box, that is what it was made from; otherwise `wish` counts. Commands start in `working_dir`.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn place(&self, owner: &Owner, at: At, wish: &SandboxOptions, working_dir: &Path) -> Result<Place, Error> {
        let key = Key { owner: owner.clone(), at };
        let slot = self.slot(key, || plan::plan(&self.shared.settings, &self.shared.backends, wish))?;
        Ok(Place::new(slot, working_dir))
    }

    /// The workspace of a user, in the folder that is the user's own.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `wish` cannot be had.
    pub fn user_place(&self, owner: &Owner, wish: &SandboxOptions) -> Result<Place, Error> {
        self.place(owner, At::Own, wish, &self.shared.settings.working_dir)
    }

    /// Whether those who ask for nothing work apart from each other and from this machine.
    pub fn is_isolated(&self) -> bool {
        let name = self.shared.settings.defaults.backend.as_deref();
        self.shared.backends.find(name).is_ok_and(|backend| backend.is_isolated())
    }

    /// The folder that commands start in that name none.
    pub fn working_dir(&self) -> &Path {
        &self.shared.settings.working_dir
    }

    fn slot(&self, key: Key, plan: impl FnOnce() -> Result<Plan, Error>) -> Result<Arc<Slot>, Error> {
        let mut slots = self.shared.slots.lock();
        if let Some(slot) = slots.get(&key) {
            slot.replan(plan)?;
            return Ok(Arc::clone(slot));
        }
        let slot = Arc::new(Slot::new(Arc::clone(&self.shared), key.clone(), plan()?));
        slots.insert(key, Arc::clone(&slot));
        Ok(slot)
    }

    /// The box of a place; none if it has none yet.
    pub fn info(&self, owner: &Owner, at: At) -> Option<SandboxInfo> {
        self.find(owner, at)?.info()
    }

    /// Up to `limit` events of a place's box, from position `from`.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has none, [`Error::Failed`] if they cannot be read.
    pub async fn events(&self, owner: &Owner, at: At, from: Seq, limit: usize) -> Result<Vec<SandboxEvent>, Error> {
        let slot = self.find(owner, at).ok_or_else(no_box)?;
        let id = slot.id().ok_or_else(no_box)?;
        let events = self.shared.store.sandbox_events(id.0, from, limit).await;
        events.map_err(|cause| Error::failed("read the events of a box", cause))
    }

    /// The events of a place's box from now on, also of boxes that it gets later.
    ///
    /// # Errors
    /// As [`Sandboxes::place`].
    pub fn watch(&self, place: &Place) -> broadcast::Receiver<SandboxEvent> {
        place.slot().watch()
    }

    /// Changes what a place's box may use, as far as the operator allows; what `limits` leave out stays as it is. A box that
    /// is not made yet gets them when it is.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Gone`] if there is no box, [`Error::Failed`] if the box cannot take them: a disk that
    /// holds more does not shrink.
    pub async fn set_limits(&self, owner: &Owner, at: At, limits: ResourceLimits) -> Result<(), Error> {
        self.find(owner, at).ok_or_else(no_box)?.set_limits(limits).await
    }

    /// Puts a place's box to sleep, whoever uses it.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has none that runs.
    pub async fn pause(&self, owner: &Owner, at: At) -> Result<(), Error> {
        self.find(owner, at).ok_or_else(no_box)?.pause("it was put to sleep").await
    }

    /// Wakes, starts or makes a place's box.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn resume(&self, owner: &Owner, at: At) -> Result<(), Error> {
        self.find(owner, at).ok_or_else(no_box)?.enter().await.map(drop)
    }

    /// Removes a place's box with all that is in it. The next use makes another.
    ///
    /// # Errors
    /// [`Error::Failed`] if the wish cannot be stored; what cannot be removed now is tried again later.
    pub async fn destroy(&self, owner: &Owner, at: At) -> Result<(), Error> {
        match self.find(owner, at) {
            Some(slot) => slot.destroy().await,
            None => Ok(()),
        }
    }

    /// Removes the box of a place that was deleted, if it had one. Whoever still works there gets none again.
    ///
    /// # Errors
    /// As [`Sandboxes::destroy`].
    pub async fn forget(&self, owner: &Owner, at: At) -> Result<(), Error> {
        let key = Key { owner: owner.clone(), at };
        let slot = self.shared.slots.lock().remove(&key);
        match slot {
            Some(slot) => slot.forget().await,
            None => Ok(()),
        }
    }

    /// How many boxes do what.
    pub fn count(&self) -> HashMap<SandboxState, usize> {
        let slots: Vec<_> = self.shared.slots.lock().values().cloned().collect();
        let mut counts = HashMap::new();
        for state in slots.iter().filter_map(|slot| slot.state()) {
            *counts.entry(state).or_default() += 1;
        }
        counts
    }

    /// How many boxes wait to be given out.
    pub fn count_waiting(&self) -> usize {
        self.shared.pools.count_all()
    }

    /// Leaves, stops or destroys all boxes, as the settings say, and stores what is known.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        let slots: Vec<_> = self.shared.slots.lock().values().cloned().collect();
        let end = async {
            let ends = slots.iter().map(|slot| async move {
                let outcome = match self.shared.settings.on_shutdown {
                    OnShutdown::Keep => slot.remember().await,
                    OnShutdown::Stop => slot.stop("the server stopped").await,
                    OnShutdown::Destroy => slot.destroy().await,
                };
                if let Err(error) = outcome {
                    tracing::warn!(%error, "a box could not be left in order");
                }
            });
            futures::future::join_all(ends).await;
            self.shared.tracker.close();
            self.shared.tracker.wait().await;
            self.shared.journal.flush().await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, end).await.is_err() {
            tracing::warn!("some boxes did not end in time; the next start finds them");
        }
    }

    fn find(&self, owner: &Owner, at: At) -> Option<Arc<Slot>> {
        let key = Key { owner: owner.clone(), at };
        self.shared.slots.lock().get(&key).cloned()
    }
}

fn no_box() -> Error {
    Error::Gone("it is made when it is first used".to_owned())
}
