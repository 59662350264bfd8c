//! A workspace that is elsewhere: the other end of [`crate::boxd`].

mod content;
mod file;
mod input;
mod link;
mod patience;
mod port;
mod process;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use link::{Link, Repeat};
use tokio::sync::Semaphore;

use crate::{
    Command, Connect, Entry, Error, FileWriter, Findings, Metadata, Parents, Process, Reader, Search, SearchLimits,
    Terminal, TerminalSize, Workspace, Writer,
    wire::{Call, Found, Listing, Os},
};

/// The largest answer, but for lists.
const MAX_ANSWER: usize = 1 << 20;

/// How many lists and findings are taken in at a time, whatever the number of places: each may be large.
static LARGE: Semaphore = Semaphore::const_new(4);

/// The largest list of what is in a folder.
const MAX_LIST: usize = 64 << 20;

/// The largest answer to a search, whose names and lines grow on the way.
const MAX_FINDINGS: usize = 8 * SearchLimits::MAX_SIZE;

/// How a [`Remote`] works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteOptions {
    /// The folder that its `boxd` works in: an absolute path there.
    pub working_dir: PathBuf,
    /// How long to try to reach a place that cannot be reached.
    pub patience: Duration,
    /// How long an answer may take that does not wait for a process.
    pub answer_timeout: Duration,
}

impl RemoteOptions {
    /// Works in `working_dir`, tries for 10 seconds to reach the place, and waits two minutes for an answer.
    pub fn new(working_dir: impl Into<PathBuf>) -> Self {
        Self {
            working_dir: working_dir.into(),
            patience: Duration::from_secs(10),
            answer_timeout: Duration::from_mins(2),
        }
    }
}

/// A workspace that is elsewhere, where a [`crate::boxd`] serves it.
///
/// It connects when it is first used and again when the connection broke. Processes, terminals and what reads from them or
/// from files outlive a broken connection: they go on where they were, and nothing is lost or doubled. What cannot be
/// reached in time is [`Error::Unreachable`]; it may be tried again. It trusts nothing that comes from there.
///
/// Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Remote {
    link: Arc<Link>,
    working_dir: Arc<Path>,
}

impl Remote {
    /// A workspace at the other end of what `connect` opens.
    pub fn new(connect: Arc<dyn Connect>, options: RemoteOptions) -> Self {
        Self {
            working_dir: options.working_dir.into(),
            link: Link::new(connect, options.patience, options.answer_timeout),
        }
    }

    /// Waits until the place answers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not in time.
    pub async fn ready(&self) -> Result<(), Error> {
        self.link.ask(&Call::Ping, Repeat::Safe).await
    }

    /// The next connection that a program of the place makes to its proxy's port: what the program sends, and what it
    /// gets. May be given up and called again; a connection that nobody takes within seconds is closed.
    ///
    /// # Errors
    /// [`Error::Unreachable`], and [`Error::Io`] if the place has no such port.
    pub async fn accept(&self) -> Result<(Reader, Writer), Error> {
        port::accept(&self.link).await
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("working_dir", &self.working_dir).field("link", &self.link).finish()
    }
}

#[async_trait]
impl Workspace for Remote {
    fn working_dir(&self) -> &Path {
        &self.working_dir
    }

    async fn spawn(&self, command: Command) -> Result<Process, Error> {
        process::spawn(&self.link, command).await
    }

    async fn open_terminal(&self, command: Command, size: TerminalSize) -> Result<Terminal, Error> {
        process::open_terminal(&self.link, command, size).await
    }

    async fn read(&self, path: &Path, offset: u64) -> Result<(Metadata, Reader), Error> {
        file::read(&self.link, path, offset).await
    }

    async fn write(&self, path: &Path, parents: Parents) -> Result<Box<dyn FileWriter>, Error> {
        file::write(&self.link, path, parents).await
    }

    async fn metadata(&self, path: &Path) -> Result<Metadata, Error> {
        let found: Found = self.link.ask(&Call::Metadata { path: path.into() }, Repeat::Safe).await?;
        Ok(found.into())
    }

    async fn list(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        let call = Call::List { path: path.into() };
        let _turn = LARGE.acquire().await;
        let Listing(listed) = self.link.ask_for(&call, MAX_LIST, self.link.answer_timeout()).await?;
        Ok(listed.into_iter().map(Entry::from).collect())
    }

    async fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.link.ask(&Call::CreateDir { path: path.into() }, Repeat::Safe).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        self.link.ask(&Call::Remove { path: path.into() }, Repeat::Never).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.link.ask(&Call::Rename { from: from.into(), to: to.into() }, Repeat::Never).await
    }

    async fn canonicalize(&self, path: &Path) -> Result<PathBuf, Error> {
        let path: Os = self.link.ask(&Call::Canonicalize { path: path.into() }, Repeat::Safe).await?;
        Ok(path.into())
    }

    async fn search(&self, search: Search) -> Result<Findings, Error> {
        let time = self.link.answer_timeout() + search.limits.time.min(SearchLimits::MAX_TIME);
        self.link.ask_for(&Call::Search(search), MAX_FINDINGS, time).await
    }

    async fn dial(&self, port: u16) -> Result<(Reader, Writer), Error> {
        port::dial(&self.link, port).await
    }
}
