//! Commands that clients run over the API (contract: server §6.1).
//!
//! ```text
//! start ──► command stored ──► outputs stored, in order ──► last output, with the exit code
//!            └ process runs in a group of its own ┘
//! ```
//!
//! An event is published to watchers only after it is stored. A command ends when its process has ended and both of
//! its pipes are closed. A process that it left in the background may hold a pipe: the command then stays open until
//! that process ends or the time limit comes, which ends the whole group. One that holds no pipe (`server > log 2>&1 &`)
//! lives on. The exit code is the shell's own if the shell ended in time.

mod decode;
mod once;
mod run;
mod watch;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use longshore_protocol::{
    UtcTime,
    bash::{BashCommand, BashEvent, BashOutput, ExecuteBash},
};
use longshore_store::{At, BashQuery, Owner, Page, Store};
use longshore_workspace::Workspace;
pub use once::{Captured, Finished, Once};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;
pub use watch::{Frame, Watch};

/// How long [`BashService::stop`] waits for a command to end: longer than the command is given.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// How long [`BashService::close`] waits for the last outputs to be stored.
const CLOSE_PATIENCE: Duration = Duration::from_millis(1500);

/// What the last output of a command says when the server died under it.
const LOST: &str = "The server stopped while the command was running; what it did is unknown.";

/// Whose commands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The user.
    pub owner: Owner,
    /// Where they were asked for.
    pub at: At,
}

/// Limits of [`BashService`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands that run at one time.
    pub running: usize,
    /// Commands of one owner that run at one time, so that nobody takes the places of all.
    pub running_of_owner: usize,
    /// Bytes of output that are kept of one command; what follows is read and thrown away.
    pub output: usize,
    /// Bytes of events that are kept of one owner; the first make room for new ones.
    pub kept_of_owner: u64,
    /// Bytes of output that are in memory for those who wait for the end of a command, of all commands. What follows is in
    /// the events alone.
    pub awaited: usize,
    /// Watchers of one scope.
    pub watchers: usize,
    /// Bytes that wait for one watcher.
    pub queued: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 1024,
            running_of_owner: 256,
            output: 64 << 20,
            kept_of_owner: 256 << 20,
            awaited: 256 << 20,
            watchers: 50,
            queued: 16 << 20,
        }
    }
}

/// Why a command cannot be run or its events cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// [`Limits::running`] commands are running, or [`Limits::running_of_owner`] of this owner.
    #[error("{0} commands are running already. Wait for one to end or stop one.")]
    TooManyCommands(usize),
    /// [`Limits::watchers`] are watching.
    #[error("Too many bash event connections")]
    TooManyWatchers,
    /// [`BashService::close`] was called.
    #[error("The server is stopping.")]
    Closing,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] longshore_store::Error),
    /// The place failed.
    #[error(transparent)]
    Workspace(#[from] longshore_workspace::Error),
}

/// Runs commands and keeps what they say.
#[derive(Clone)]
pub struct BashService(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    limits: Limits,
    running: Mutex<HashMap<String, Running>>,
    /// One for each byte of [`Limits::awaited`].
    awaited: Arc<Semaphore>,
    watchers: watch::Watchers,
    tasks: TaskTracker,
    closing: CancellationToken,
}

#[derive(Clone)]
struct Running {
    scope: Scope,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl fmt::Debug for BashService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BashService").field("running", &self.running()).finish_non_exhaustive()
    }
}

impl BashService {
    /// A service that runs nothing yet.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            store,
            limits,
            running: Mutex::default(),
            awaited: Arc::new(Semaphore::new(limits.awaited.min(Semaphore::MAX_PERMITS))),
            watchers: watch::Watchers::new(limits),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }))
    }

    /// Gives every command that the last server left open a last output that says so. Call this before the first
    /// command is started.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn recover(&self) -> Result<(), Error> {
        for (owner, at, command) in self.0.store.unfinished_bash().await? {
            let scope = Scope { owner, at };
            let query = BashQuery {
                kind: Some("BashOutput".to_owned()),
                command_id: Some(command.id.clone()),
                descending: true,
                limit: 1,
                ..BashQuery::default()
            };
            let order = match self.search(&scope, query).await?.items.pop() {
                Some(BashEvent::BashOutput(last)) => last.order + 1,
                _ => 0,
            };
            let output =
                BashOutput { order, exit_code: Some(-1), stderr: Some(LOST.to_owned()), ..empty_output(&command.id) };
            let keep = self.0.limits.kept_of_owner;
            self.0.store.append_bash(&scope.owner, scope.at, vec![output.into()], keep).await?;
        }
        Ok(())
    }

    /// How many commands are running.
    pub fn running(&self) -> usize {
        self.0.running.lock().len()
    }

    /// Starts a command and returns when it is stored.
    ///
    /// # Errors
    /// [`Error::TooManyCommands`], [`Error::Closing`], and those of the store. A command that cannot be started is no
    /// error: its only output says why.
    pub async fn start(
        &self,
        scope: &Scope,
        workspace: Arc<dyn Workspace>,
        request: ExecuteBash,
    ) -> Result<BashCommand, Error> {
        let (command, launch) = self.launch(scope, workspace, request, false)?;
        match launch.stored.await {
            Ok(()) => Ok(command),
            Err(_) => Err(launch.ended.await.unwrap_or(Err(Error::Closing)).err().unwrap_or(Error::Closing)),
        }
    }

    /// Runs a command to its end: its last output, with all that it wrote. The command goes on if the caller does not
    /// wait.
    ///
    /// # Errors
    /// As [`BashService::start`].
    pub async fn execute(
        &self,
        scope: &Scope,
        workspace: Arc<dyn Workspace>,
        request: ExecuteBash,
    ) -> Result<BashOutput, Error> {
        let (_, launch) = self.launch(scope, workspace, request, true)?;
        launch.ended.await.unwrap_or(Err(Error::Closing))
    }

    /// Ends a command and waits until it has ended; false if there is no such command.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stop(&self, scope: &Scope, id: Uuid) -> Result<bool, Error> {
        let id = id.simple().to_string();
        let running = self.0.running.lock().get(&id).filter(|running| running.scope == *scope).cloned();
        if let Some(running) = running {
            running.stop.cancel();
            if timeout(STOP_PATIENCE, running.ended.cancelled()).await.is_err() {
                tracing::warn!(command.id = id, "a stopped command has not ended yet");
            }
            return Ok(true);
        }
        Ok(self.get(scope, &id).await?.is_some_and(|event| matches!(event, BashEvent::BashCommand(_))))
    }

    /// A page of events.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn search(&self, scope: &Scope, query: BashQuery) -> Result<Page<BashEvent>, Error> {
        Ok(self.0.store.find_bash(&scope.owner, scope.at, query).await?)
    }

    /// The event whose id is exactly `id`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, scope: &Scope, id: &str) -> Result<Option<BashEvent>, Error> {
        let query = BashQuery { id: Some(id.to_owned()), limit: 1, ..BashQuery::default() };
        Ok(self.search(scope, query).await?.items.pop())
    }

    /// Removes all events and returns how many there were. What runs goes on.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clear(&self, scope: &Scope) -> Result<u64, Error> {
        Ok(self.0.store.clear_bash(&scope.owner, scope.at).await?)
    }

    /// The events of `scope` from now on.
    ///
    /// # Errors
    /// [`Error::TooManyWatchers`].
    pub fn watch(&self, scope: &Scope) -> Result<Watch, Error> {
        self.0.watchers.add(scope)
    }

    /// Kills what runs, waits until the last outputs are stored, and refuses new commands.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        if timeout(CLOSE_PATIENCE, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(commands = self.running(), "commands did not end before the server stopped");
        }
    }

    /// Takes a place among the running commands and starts the task that runs one.
    fn launch(
        &self,
        scope: &Scope,
        workspace: Arc<dyn Workspace>,
        request: ExecuteBash,
        collect: bool,
    ) -> Result<(BashCommand, Launch), Error> {
        let command = BashCommand {
            command: request.command,
            cwd: request.cwd,
            timeout: request.timeout,
            id: new_id(),
            timestamp: UtcTime(Timestamp::now()),
        };
        let place = Place::take(&self.0, scope, &command.id)?;
        let (stored_sender, stored) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let started = command.clone();
        self.0.tasks.spawn(async move {
            let outcome = run::run(&place, workspace, started, stored_sender, collect).await;
            drop(place);
            if let Err(Err(error)) = ended_sender.send(outcome) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a command was ended: its output cannot be stored"
                );
            }
        });
        Ok((command, Launch { stored, ended }))
    }
}

struct Launch {
    /// Answers when the command is stored, and fails if it cannot be.
    stored: oneshot::Receiver<()>,
    /// Answers with the last output.
    ended: oneshot::Receiver<Result<BashOutput, Error>>,
}

/// A place among the running commands. Dropping it gives the place back and tells those who wait for the end.
struct Place {
    service: Arc<Inner>,
    id: String,
    running: Running,
}

impl Place {
    fn take(service: &Arc<Inner>, scope: &Scope, id: &str) -> Result<Self, Error> {
        if service.closing.is_cancelled() {
            return Err(Error::Closing);
        }
        let running = Running { scope: scope.clone(), stop: CancellationToken::new(), ended: CancellationToken::new() };
        let mut all = service.running.lock();
        let own = all.values().filter(|running| running.scope.owner == scope.owner).count();
        if own >= service.limits.running_of_owner {
            return Err(Error::TooManyCommands(own));
        }
        if all.len() >= service.limits.running {
            return Err(Error::TooManyCommands(all.len()));
        }
        all.insert(id.to_owned(), running.clone());
        drop(all);
        Ok(Self { service: Arc::clone(service), id: id.to_owned(), running })
    }

    /// Stores an event, then shows it to the watchers.
    async fn append(&self, event: BashEvent) -> Result<(), Error> {
        let scope = &self.running.scope;
        let keep = self.service.limits.kept_of_owner;
        self.service.store.append_bash(&scope.owner, scope.at, vec![event.clone()], keep).await?;
        self.service.watchers.publish(scope, &event);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.service.running.lock().remove(&self.id);
        self.running.ended.cancel();
    }
}

fn empty_output(command_id: &str) -> BashOutput {
    BashOutput {
        id: new_id(),
        timestamp: UtcTime(Timestamp::now()),
        command_id: command_id.to_owned(),
        order: 0,
        exit_code: None,
        stdout: None,
        stderr: None,
    }
}

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}
