//! A machine with boxes that are nothing but a record: every step of making one can be held up, refused or counted.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use longshore_sandbox::{Backend, Death, Error, Finding, Found, Limits, Progress, Running, SandboxId, Spec, Stats};
use longshore_workspace::{Local, LocalOptions, Stream, Workspace};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};

/// What the backend of a [`Machine`] is called.
pub(crate) const NAME: &str = "record";

/// A machine. It outlives the servers that make boxes on it.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Where the boxes' processes and files are: the same folder for all.
    folder: PathBuf,
    state: Mutex<State>,
    changed: Notify,
    deaths: mpsc::UnboundedSender<Death>,
    heard: AsyncMutex<mpsc::UnboundedReceiver<Death>>,
}

#[derive(Debug, Default)]
struct State {
    boxes: BTreeMap<SandboxId, Boxed>,
    /// What was asked for, in order.
    steps: Vec<(String, SandboxId)>,
    /// Steps that wait, if they were begun after so many others.
    held: HashMap<String, usize>,
    refused: HashMap<String, Error>,
    /// The step at which whoever takes it never gets on.
    end: Option<usize>,
    is_ended: bool,
    stats: Stats,
    list_fails: bool,
    says: Vec<(String, Option<u8>)>,
    /// How many deaths somebody heard of.
    heard: usize,
}

#[derive(Debug, Clone)]
struct Boxed {
    running: Running,
    spec: Spec,
}

impl Machine {
    pub(crate) fn new(folder: &Path) -> Arc<Self> {
        let (deaths, heard) = mpsc::unbounded_channel();
        let (state, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { folder: folder.to_owned(), state, changed, deaths, heard: AsyncMutex::new(heard) })
    }

    /// A backend for boxes of this machine.
    pub(crate) fn backend(self: &Arc<Self>) -> Arc<dyn Backend> {
        Arc::new(Recorder(Arc::clone(self)))
    }

    /// The boxes that there are.
    pub(crate) fn boxes(&self) -> BTreeMap<SandboxId, Running> {
        self.state.lock().boxes.iter().map(|(id, boxed)| (*id, boxed.running)).collect()
    }

    /// Puts a box there, or changes it, behind everybody's back.
    pub(crate) fn put(&self, id: SandboxId, running: Running) {
        let spec = Spec {
            image: None,
            limits: Limits::default(),
            network: longshore_sandbox::Network::Closed,
            env: BTreeMap::new(),
            working_dir: self.folder.clone(),
            volumes: Vec::new(),
            timeout: None,
        };
        self.state.lock().boxes.insert(id, Boxed { running, spec });
    }

    /// What a box was started from.
    pub(crate) fn spec(&self, id: SandboxId) -> Spec {
        self.state.lock().boxes[&id].spec.clone()
    }

    /// How often a step was begun.
    pub(crate) fn count(&self, step: &str) -> usize {
        self.state.lock().steps.iter().filter(|(name, _)| name == step).count()
    }

    /// Holds up whoever comes to a step from now on, until [`Machine::release`].
    pub(crate) fn hold(&self, step: &str) {
        let mut state = self.state.lock();
        let now = state.steps.len();
        state.held.insert(step.to_owned(), now);
    }

    pub(crate) fn release(&self, step: &str) {
        self.state.lock().held.remove(step);
        self.changed.notify_waiters();
    }

    /// Refuses a step from now on, or no longer.
    pub(crate) fn refuse(&self, step: &str, error: Option<Error>) {
        let mut state = self.state.lock();
        match error {
            Some(error) => state.refused.insert(step.to_owned(), error),
            None => state.refused.remove(step),
        };
    }

    /// The step with this number, counted from now on, is the last: nobody gets past it.
    pub(crate) fn end_at(&self, number: usize) {
        let mut state = self.state.lock();
        state.end = Some(state.steps.len() + number);
    }

    /// Lets steps be taken again.
    pub(crate) fn go_on(&self) {
        let mut state = self.state.lock();
        (state.end, state.is_ended) = (None, false);
    }

    /// Waits until somebody came to the last step.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state.lock().is_ended {
                return;
            }
            changed.await;
        }
    }

    /// What boxes use from now on.
    pub(crate) fn use_up(&self, stats: Stats) {
        self.state.lock().stats = stats;
    }

    pub(crate) fn fail_lists(&self, fails: bool) {
        self.state.lock().list_fails = fails;
    }

    /// What is told while an image is fetched.
    pub(crate) fn say(&self, progress: Vec<(String, Option<u8>)>) {
        self.state.lock().says = progress;
    }

    /// A box dies.
    pub(crate) fn kill(&self, id: SandboxId, reason: &str) {
        self.set(id, Running::No);
        self.deaths.send(Death { id, reason: reason.to_owned() }).expect("the machine hears");
    }

    /// A box dies and nobody hears of it.
    pub(crate) fn kill_unheard(&self, id: SandboxId) {
        self.set(id, Running::No);
    }

    /// How many deaths somebody heard of.
    pub(crate) fn heard(&self) -> usize {
        self.state.lock().heard
    }

    fn set(&self, id: SandboxId, running: Running) {
        self.state.lock().boxes.get_mut(&id).expect("a box").running = running;
    }

    async fn step(&self, name: &str, id: SandboxId) -> Result<(), Error> {
        let number = {
            let mut state = self.state.lock();
            state.steps.push((name.to_owned(), id));
            state.steps.len()
        };
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if state.end.is_some_and(|end| number >= end) {
                    if !std::mem::replace(&mut state.is_ended, true) {
                        self.changed.notify_waiters();
                    }
                } else if let Some(error) = state.refused.get(name) {
                    return Err(error.clone());
                } else if state.held.get(name).is_none_or(|after| number <= *after) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }
}

/// Makes boxes of a [`Machine`].
#[derive(Debug)]
struct Recorder(Arc<Machine>);

impl Recorder {
    fn change(&self, id: SandboxId, running: Running) -> Result<(), Error> {
        match self.0.state.lock().boxes.get_mut(&id) {
            Some(boxed) if boxed.running != Running::No => {
                boxed.running = running;
                Ok(())
            }
            _ => Err(Error::Gone("it does not run".to_owned())),
        }
    }
}

#[async_trait]
impl Backend for Recorder {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn prepare(&self, _: &Spec, progress: Progress<'_>) -> Result<(), Error> {
        let says = self.0.state.lock().says.clone();
        for (what, percent) in says {
            progress(&what, percent);
        }
        self.0.step("prepare", SandboxId(uuid::Uuid::nil())).await
    }

    async fn create(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        self.0.step("create", id).await?;
        let boxed = Boxed { running: Running::No, spec: spec.clone() };
        self.0.state.lock().boxes.entry(id).or_insert(boxed);
        self.0.step("created", id).await
    }

    async fn start(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        self.0.step("start", id).await?;
        match self.0.state.lock().boxes.get_mut(&id) {
            Some(boxed) => *boxed = Boxed { running: Running::Yes, spec: spec.clone() },
            None => return Err(Error::Gone("nobody created it".to_owned())),
        }
        self.0.step("started", id).await
    }

    async fn pause(&self, id: SandboxId) -> Result<(), Error> {
        self.0.step("pause", id).await?;
        self.change(id, Running::Paused)?;
        self.0.step("paused", id).await
    }

    async fn resume(&self, id: SandboxId) -> Result<(), Error> {
        self.0.step("resume", id).await?;
        self.change(id, Running::Yes)?;
        self.0.step("resumed", id).await
    }

    async fn stop(&self, id: SandboxId) -> Result<(), Error> {
        self.0.step("stop", id).await?;
        let _ = self.change(id, Running::No);
        self.0.step("stopped", id).await
    }

    async fn destroy(&self, id: SandboxId) -> Result<(), Error> {
        self.0.step("destroy", id).await?;
        self.0.state.lock().boxes.remove(&id);
        self.0.step("destroyed", id).await
    }

    async fn set_limits(&self, id: SandboxId, limits: &Limits) -> Result<(), Error> {
        self.0.step("limit", id).await?;
        match self.0.state.lock().boxes.get_mut(&id) {
            Some(boxed) => boxed.spec.limits = *limits,
            None => return Err(Error::Gone("nobody created it".to_owned())),
        }
        self.0.step("limited", id).await
    }

    async fn open(&self, _: SandboxId) -> io::Result<Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn in_process(&self, _: &Spec) -> Option<Result<Arc<dyn Workspace>, Error>> {
        let local = Local::new(LocalOptions::new(&self.0.folder)).expect("a folder");
        Some(Ok(Arc::new(local)))
    }

    async fn stats(&self, id: SandboxId) -> Result<Stats, Error> {
        self.0.step("stats", id).await?;
        Ok(self.0.state.lock().stats)
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        self.0.step("list", SandboxId(uuid::Uuid::nil())).await?;
        let found = {
            let state = self.0.state.lock();
            if state.list_fails {
                return Err(Error::Gone("nobody answers".to_owned()));
            }
            state.boxes.iter().map(|(id, boxed)| Found { id: *id, running: boxed.running }).collect()
        };
        self.0.step("listed", SandboxId(uuid::Uuid::nil())).await?;
        Ok(found)
    }

    async fn next_death(&self) -> Death {
        let death = self.0.heard.lock().await.recv().await.expect("the machine is there");
        self.0.state.lock().heard += 1;
        death
    }
}
