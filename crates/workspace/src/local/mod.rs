//! This machine as a workspace.

mod child;
pub(crate) mod children;
mod descriptor;
mod environment;
mod files;
mod process;
mod program;
mod reader;
mod search;
mod terminal;
mod writer;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use environment::Environment;
use tokio::{net::TcpStream, sync::Semaphore};

use crate::{
    Command, Entry, Error, FileWriter, Findings, Metadata, Parents, Process, Reader, Search, Terminal, TerminalSize,
    Workspace, Writer, guard::Guard,
};

/// How many searches run at a time; others wait.
const MAX_SEARCHES: usize = 4;

/// How a [`Local`] works.
#[derive(Clone)]
pub struct LocalOptions {
    /// The folder that commands start in and that relative paths are taken from.
    pub working_dir: PathBuf,
    /// The environment that processes may get parts of: by default this process's.
    pub inherited: Vec<(OsString, OsString)>,
    /// Names in `inherited` that processes get besides the usual ones (`PATH`, `HOME`, `LANG` and the like).
    pub pass_env: Vec<String>,
    /// Whether processes get all of `inherited`: in a box, whose environment holds nothing that is not theirs.
    pub pass_all: bool,
    /// Variables that every process gets.
    pub env: Vec<(OsString, OsString)>,
    /// What kills the processes when this one is gone without a goodbye. Every `Local` of a server shares one.
    pub guard: Option<Guard>,
}

impl LocalOptions {
    /// Works in `working_dir`, with the usual environment and no guard.
    pub fn new(working_dir: impl Into<PathBuf>) -> Self {
        Self {
            working_dir: working_dir.into(),
            inherited: std::env::vars_os().collect(),
            pass_env: Vec::new(),
            pass_all: false,
            env: Vec::new(),
            guard: None,
        }
    }
}

impl std::fmt::Debug for LocalOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables hold secrets.
        f.debug_struct("LocalOptions")
            .field("working_dir", &self.working_dir)
            .field("pass_env", &self.pass_env)
            .finish_non_exhaustive()
    }
}

/// This machine as a workspace: processes are children of this one, files are its files.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Local {
    working_dir: Arc<Path>,
    environment: Arc<Environment>,
    guard: Option<Guard>,
    /// Turns for searches, which take long and would leave no threads for anything else.
    searches: Arc<Semaphore>,
}

impl Local {
    /// Works as `options` say. The environment of its processes is decided here, once.
    ///
    /// # Errors
    /// [`Error::Io`] if the working folder is a relative path and this process's own folder is unknown.
    pub fn new(options: LocalOptions) -> Result<Self, Error> {
        let LocalOptions { working_dir, mut inherited, pass_env, pass_all, env, guard } = options;
        if !pass_all {
            inherited.retain(|(name, _)| environment::is_allowed(name, &pass_env));
        }
        let working_dir =
            std::path::absolute(&working_dir).map_err(|cause| Error::at("locate", &working_dir, cause))?;
        Ok(Self {
            working_dir: working_dir.into(),
            environment: Arc::new(Environment::new(inherited, env, guard.as_ref())),
            guard,
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
        })
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.working_dir.join(path)
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("working_dir", &self.working_dir).finish_non_exhaustive()
    }
}

#[async_trait]
impl Workspace for Local {
    fn working_dir(&self) -> &Path {
        &self.working_dir
    }

    async fn spawn(&self, command: Command) -> Result<Process, Error> {
        let local = self.clone();
        blocking(move || process::spawn(&local.prepare(command))).await
    }

    async fn open_terminal(&self, command: Command, size: TerminalSize) -> Result<Terminal, Error> {
        let local = self.clone();
        blocking(move || terminal::open(&local.prepare(command), size)).await
    }

    async fn read(&self, path: &Path, offset: u64) -> Result<(Metadata, Reader), Error> {
        let path = self.absolute(path);
        let (metadata, reader) = blocking(move || reader::open(path, offset)).await?;
        Ok((metadata, Box::pin(reader)))
    }

    async fn write(&self, path: &Path, parents: Parents) -> Result<Box<dyn FileWriter>, Error> {
        let path = self.absolute(path);
        let writer = blocking(move || writer::create(path, parents)).await?;
        Ok(Box::new(writer))
    }

    async fn metadata(&self, path: &Path) -> Result<Metadata, Error> {
        let path = self.absolute(path);
        blocking(move || files::metadata(&path)).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        let path = self.absolute(path);
        blocking(move || files::list(&path)).await
    }

    async fn create_dir(&self, path: &Path) -> Result<(), Error> {
        let path = self.absolute(path);
        blocking(move || files::create_dir(&path)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        let path = self.absolute(path);
        blocking(move || files::remove(&path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let (from, to) = (self.absolute(from), self.absolute(to));
        blocking(move || files::rename(&from, &to)).await
    }

    async fn canonicalize(&self, path: &Path) -> Result<PathBuf, Error> {
        let path = self.absolute(path);
        blocking(move || files::canonicalize(&path)).await
    }

    async fn search(&self, mut search: Search) -> Result<Findings, Error> {
        // Without `.` and double slashes, which would be in every path that is found.
        search.folder = self.absolute(&search.folder).components().collect();
        let given_up = Arc::new(AtomicBool::new(false));
        let _give_up = GiveUp(given_up.clone());
        let turn = self.searches.clone().acquire_owned().await;
        blocking(move || {
            let _turn = turn;
            search::search(&search, &given_up)
        })
        .await
    }

    async fn dial(&self, port: u16) -> Result<(Reader, Writer), Error> {
        // Many servers listen on one of the two loopback addresses only.
        let stream = match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => stream,
            Err(refused) => TcpStream::connect(("::1", port))
                .await
                .map_err(|_| Error::io(format!("connect to port {port}"), refused))?,
        };
        stream.set_nodelay(true).map_err(|cause| Error::io(format!("connect to port {port}"), cause))?;
        let (reader, writer) = stream.into_split();
        Ok((Box::pin(reader), Box::pin(writer)))
    }
}

impl Local {
    /// Makes sure of the guard and settles what a process starts with.
    fn prepare(&self, command: Command) -> program::Launch {
        if let Some(guard) = &self.guard {
            guard.start();
        }
        program::Launch::new(command, &self.working_dir, &self.environment)
    }
}

/// Tells what runs elsewhere that nobody waits for it any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs what may wait for a disk, or a network behind a path, where it does not hold up the tasks of the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(cause) => Err(Error::io("work while the runtime ends", io::Error::other(cause))),
    }
}
