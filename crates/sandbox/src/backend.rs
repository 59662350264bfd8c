//! What makes boxes.

use std::{fmt, io, path::Path, sync::Arc};

use async_trait::async_trait;
use longshore_workspace::{Connect, Stream, Workspace};

use crate::{Error, Finding, Limits, SandboxId, Spec};

/// Makes boxes of one kind.
///
/// A box is first created, which makes all that outlives its processes, and then started. Every method may be called
/// again after it was broken off or the server died, and then finishes the work; to stop, destroy or pause what is not
/// there, or what is stopped or paused already, is no error.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Its name on the wire and in configuration.
    fn name(&self) -> &'static str;

    /// Whether what runs in a box is kept from what is outside; without that there are no limits and no closed network either.
    fn is_isolated(&self) -> bool {
        true
    }

    /// Whether boxes like this can be made at all, as far as that can be told without asking anybody.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    fn validate(&self, _spec: &Spec) -> Result<(), Error> {
        Ok(())
    }

    /// Whether boxes can be made here, and if not, why and what to do.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn check(&self) -> Result<(), Error>;

    /// Whether what makes the boxes still answers: cheap enough to be asked every second.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn is_alive(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What this machine can do for such boxes, and what they lack: for people to read.
    async fn findings(&self) -> Vec<Finding>;

    /// Fetches what boxes of `spec` need and this machine lacks: an image. Says how far it is.
    ///
    /// # Errors
    /// [`Error`].
    async fn prepare(&self, spec: &Spec, progress: Progress<'_>) -> Result<(), Error>;

    /// Makes a box that does not run yet.
    ///
    /// # Errors
    /// [`Error`]. What was made until then is removed by [`Backend::destroy`].
    async fn create(&self, id: SandboxId, spec: &Spec) -> Result<(), Error>;

    /// Starts a box that was created or stopped, with `boxd` in it; returns when [`Backend::open`] can work.
    ///
    /// # Errors
    /// [`Error`].
    async fn start(&self, id: SandboxId, spec: &Spec) -> Result<(), Error>;

    /// Halts all processes, which keep their memory.
    ///
    /// # Errors
    /// [`Error::Gone`] if it does not run.
    async fn pause(&self, id: SandboxId) -> Result<(), Error>;

    /// Lets halted processes go on.
    ///
    /// # Errors
    /// [`Error::Gone`] if there are none.
    async fn resume(&self, id: SandboxId) -> Result<(), Error>;

    /// Ends all processes; files stay.
    ///
    /// # Errors
    /// [`Error`].
    async fn stop(&self, id: SandboxId) -> Result<(), Error>;

    /// Removes all that there is of a box.
    ///
    /// # Errors
    /// [`Error`].
    async fn destroy(&self, id: SandboxId) -> Result<(), Error>;

    /// Changes what a box may use. A disk grows without loss; it shrinks only if what is on it fits. Where a disk cannot
    /// change while it is in use, it has its new size when the box is started the next time.
    ///
    /// # Errors
    /// [`Error`].
    async fn set_limits(&self, id: SandboxId, limits: &Limits) -> Result<(), Error>;

    /// Opens a stream to `boxd` in a running box.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotConnected`] if the box does not run.
    async fn open(&self, id: SandboxId) -> io::Result<Stream>;

    /// A box as a workspace of this process, for a backend that needs no stream to it.
    ///
    /// # Errors
    /// [`Error`].
    fn in_process(&self, _spec: &Spec) -> Option<Result<Arc<dyn Workspace>, Error>> {
        None
    }

    /// What a box uses now.
    ///
    /// # Errors
    /// [`Error::Gone`].
    async fn stats(&self, id: SandboxId) -> Result<Stats, Error>;

    /// All boxes of this deployment that exist in any form, found without any record of ours: by label, folder or mark.
    ///
    /// # Errors
    /// [`Error`].
    async fn list(&self) -> Result<Vec<Found>, Error>;

    /// Waits for the next box that ends without being asked to.
    async fn next_death(&self) -> Death;

    /// Whether it has a network of its own for [`crate::Network::Bridge`]; otherwise such boxes are proxied.
    fn has_bridge(&self) -> bool {
        false
    }

    /// A folder for what tools keep in a box: an absolute path in it that every user of the box may write to.
    fn tools_dir(&self) -> &Path {
        Path::new("/tmp/.longshore")
    }
}

/// Is called with what is being done and, if that is known, how far it is in percent.
pub type Progress<'a> = &'a (dyn Fn(&str, Option<u8>) + Send + Sync);

/// A box that a backend found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: SandboxId,
    /// Whether its processes run.
    pub running: Running,
}

/// Whether a box's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// They do.
    Yes,
    /// They are halted.
    Paused,
    /// There are none.
    No,
}

/// A box ended without being asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Its id.
    pub id: SandboxId,
    /// Why, in words, as far as it is known: `it used more memory than its limit of 64m`.
    pub reason: String,
}

/// What a box uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processor time in microseconds since it started.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes on disk.
    pub disk: Option<u64>,
    /// Whether the limit of the disk holds by itself; otherwise somebody must watch it.
    pub disk_is_enforced: bool,
}

/// Opens streams to one box.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) id: SandboxId,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> io::Result<Stream> {
        self.backend.open(self.id).await
    }
}
