//! The place an agent works in.
//!
//! A [`Workspace`] runs processes, opens terminals and reads and writes files. [`Local`] does so on this machine, in this
//! process; [`Remote`] does so wherever a [`boxd`] is. Tools, the bash and file endpoints and git are written once, over
//! the trait, so that they work in every kind of place.
//!
//! The crate knows nothing of users, agents or the HTTP API.

pub mod boxd;
mod command;
mod error;
pub mod git;
pub mod guard;
mod local;
mod remote;
mod search;
mod stream;
mod wire;

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    time::SystemTime,
};

use async_trait::async_trait;
pub use command::{Command, ExitStatus, Signal};
pub use error::Error;
pub use local::{Local, LocalOptions};
pub use remote::{Remote, RemoteOptions};
pub use search::{Findings, FoundFile, Incomplete, Match, Search, SearchLimits};
use serde::{Deserialize, Serialize};
pub use stream::{Connect, Duplex, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes from a workspace.
pub type Reader = Pin<Box<dyn AsyncRead + Send + Sync>>;

/// Bytes to a workspace.
pub type Writer = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// A listing is held in memory, so it ends somewhere.
const MAX_ENTRIES: usize = 1_000_000;

/// A place to work in.
///
/// Relative paths are taken from [`Workspace::working_dir`]. Dropping a handle ends what it stands for: a process
/// that was not seen to end is killed with its group, a terminal is hung up, a file that was not finished leaves no trace.
#[async_trait]
pub trait Workspace: fmt::Debug + Send + Sync {
    /// The folder that commands start in: an absolute path in the workspace.
    fn working_dir(&self) -> &Path;

    /// Starts a process in a group of its own, with separate standard output and standard error.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a missing program or folder, [`Error::Io`] for what else the system refuses.
    async fn spawn(&self, command: Command) -> Result<Process, Error>;

    /// Starts a process on a terminal of its own, as the leader of a session.
    ///
    /// # Errors
    /// As [`Workspace::spawn`].
    async fn open_terminal(&self, command: Command, size: TerminalSize) -> Result<Terminal, Error>;

    /// Opens a file for reading from `offset`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::PermissionDenied`].
    async fn read(&self, path: &Path, offset: u64) -> Result<(Metadata, Reader), Error>;

    /// Opens a file for writing. Nothing is seen at `path` before [`FileWriter::finish`], which puts the whole content in
    /// its place at once; an existing file's mode is kept, and a symbolic link's target is what is written.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::NotADirectory`] for a parent that is a file, [`Error::PermissionDenied`].
    async fn write(&self, path: &Path, parents: Parents) -> Result<Box<dyn FileWriter>, Error>;

    /// What is at `path`, symbolic links followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`].
    async fn metadata(&self, path: &Path) -> Result<Metadata, Error>;

    /// What is in a folder, in no order, without `.` and `..`; symbolic links are not followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::PermissionDenied`]; [`Error::TooManyEntries`] above a
    /// million.
    async fn list(&self, path: &Path) -> Result<Vec<Entry>, Error>;

    /// Makes a folder and its parents; does nothing if it is there.
    ///
    /// # Errors
    /// [`Error::NotADirectory`] if a file is in the way, [`Error::PermissionDenied`].
    async fn create_dir(&self, path: &Path) -> Result<(), Error>;

    /// Removes a file, or a folder with all that is in it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`].
    async fn remove(&self, path: &Path) -> Result<(), Error>;

    /// Gives a file or folder another path, replacing a file that is there.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`].
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;

    /// The real path of something that exists, without symbolic links and `..`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`].
    async fn canonicalize(&self, path: &Path) -> Result<PathBuf, Error>;

    /// Finds files, or lines in them. Files that are no text are not looked into; symbolic links are not followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`] for the folder; [`Error::Invalid`] for a pattern or a glob.
    async fn search(&self, search: Search) -> Result<Findings, Error>;

    /// Connects to a TCP port in the workspace.
    ///
    /// # Errors
    /// [`Error::Io`] if nothing listens there.
    async fn dial(&self, port: u16) -> Result<(Reader, Writer), Error>;

    /// Keeps the place awake: one that sleeps when nobody uses it does not while the value lives. Whoever waits for
    /// something that runs in it, and reads nothing meanwhile, holds one.
    fn stay_awake(&self) -> Awake {
        Awake(None)
    }
}

/// Keeps a place awake; see [`Workspace::stay_awake`].
pub struct Awake(Option<Box<dyn std::any::Any + Send + Sync>>);

impl Awake {
    /// Keeps a place awake by holding `token`.
    pub fn holding(token: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(token)))
    }
}

impl fmt::Debug for Awake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Awake").field(&self.0.is_some()).finish()
    }
}

/// Whether missing parent folders are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parents {
    /// They must be there.
    Required,
    /// They are made.
    Created,
}

/// A file that is being written.
#[async_trait]
pub trait FileWriter: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// What the system says: no space, no permission.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Puts the content in its place.
    ///
    /// # Errors
    /// What the system says: no space, no permission.
    async fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub len: u64,
    /// When it last changed.
    pub modified: Option<SystemTime>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link; only in a listing.
    Symlink,
    /// A device, a socket, a pipe.
    Other,
}

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: any bytes but `/`.
    pub name: std::ffi::OsString,
    /// What it is.
    pub kind: FileKind,
}

/// A running process.
///
/// Output must be read, or the process waits when the pipe is full. Dropping this kills the process group, unless the
/// process was seen to end: what it left running then lives on.
pub struct Process {
    /// Standard input; drop it for end of file.
    pub stdin: Option<Writer>,
    /// Standard output.
    pub stdout: Reader,
    /// Standard error.
    pub stderr: Reader,
    /// Signals and the end.
    pub control: Box<dyn ProcessControl>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

/// Signals to a process and its end. Dropping it kills the process group, unless the end was seen.
#[async_trait]
pub trait ProcessControl: Send + Sync {
    /// Sends a signal to the process group; does nothing if nobody is left in it.
    ///
    /// # Errors
    /// What the system says.
    async fn signal(&self, signal: Signal) -> Result<(), Error>;

    /// Waits for the process to end. May be called again and then answers at once.
    ///
    /// # Errors
    /// What the system says.
    async fn wait(&mut self) -> Result<ExitStatus, Error>;
}

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A process on a terminal of its own. Dropping it hangs the terminal up and kills the session's processes.
pub struct Terminal {
    /// What the terminal shows.
    pub output: Reader,
    /// What is typed.
    pub input: Writer,
    /// Signals, size and the end.
    pub control: Box<dyn TerminalControl>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

/// Signals to a terminal's processes, its size, and the end of its leader.
#[async_trait]
pub trait TerminalControl: ProcessControl {
    /// Sends a signal to the process group in the foreground of the terminal.
    ///
    /// # Errors
    /// What the system says.
    async fn signal_foreground(&self, signal: Signal) -> Result<(), Error>;

    /// Changes the size.
    ///
    /// # Errors
    /// What the system says.
    async fn resize(&self, size: TerminalSize) -> Result<(), Error>;
}
