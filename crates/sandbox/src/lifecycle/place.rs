//! The workspace of a place, whatever its box is doing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use longshore_workspace::{
    Awake, Command, Entry, Error, FileWriter, Findings, Metadata, Parents, Process, Reader, Search, Terminal,
    TerminalSize, Workspace, Writer,
};

use super::{
    slot::{Slot, Use},
    watched,
};

/// The workspace of a user or a conversation. Its box is made, started or woken when it is used, and does not sleep while
/// something runs in it that somebody waits for.
#[derive(Debug, Clone)]
pub struct Place {
    slot: Arc<Slot>,
    working_dir: Arc<Path>,
}

impl Place {
    pub(crate) fn new(slot: Arc<Slot>, working_dir: &Path) -> Self {
        Self { slot, working_dir: working_dir.into() }
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// A folder for what tools keep: an absolute path in the box. None without isolation, where it would be everybody's.
    pub fn tools_dir(&self) -> Option<PathBuf> {
        let backend = self.slot.plan().backend;
        backend.is_isolated().then(|| backend.tools_dir().to_owned())
    }

    async fn enter(&self) -> Result<Use, Error> {
        self.slot
            .enter()
            .await
            .map_err(|cause| Error::Io { what: "use the workspace".to_owned(), cause: io::Error::other(cause) })
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.working_dir.join(path)
    }

    fn rooted(&self, mut command: Command) -> Command {
        command.cwd = Some(command.cwd.map_or_else(|| self.working_dir.to_path_buf(), |cwd| self.absolute(&cwd)));
        command
    }
}

#[async_trait]
impl Workspace for Place {
    fn working_dir(&self) -> &Path {
        &self.working_dir
    }

    async fn spawn(&self, command: Command) -> Result<Process, Error> {
        let used = self.enter().await?;
        let timeout = self.slot.plan().spec.timeout;
        let process = used.workspace.spawn(self.rooted(command)).await?;
        Ok(watched::process(process, used, timeout))
    }

    async fn open_terminal(&self, command: Command, size: TerminalSize) -> Result<Terminal, Error> {
        let used = self.enter().await?;
        let terminal = used.workspace.open_terminal(self.rooted(command), size).await?;
        Ok(watched::terminal(terminal, &self.slot))
    }

    async fn read(&self, path: &Path, offset: u64) -> Result<(Metadata, Reader), Error> {
        let used = self.enter().await?;
        let (metadata, reader) = used.workspace.read(&self.absolute(path), offset).await?;
        Ok((metadata, Box::pin(watched::Used::new(reader, used))))
    }

    async fn write(&self, path: &Path, parents: Parents) -> Result<Box<dyn FileWriter>, Error> {
        let used = self.enter().await?;
        let writer = used.workspace.write(&self.absolute(path), parents).await?;
        Ok(watched::file_writer(writer, used))
    }

    async fn metadata(&self, path: &Path) -> Result<Metadata, Error> {
        let used = self.enter().await?;
        used.workspace.metadata(&self.absolute(path)).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        let used = self.enter().await?;
        used.workspace.list(&self.absolute(path)).await
    }

    async fn create_dir(&self, path: &Path) -> Result<(), Error> {
        let used = self.enter().await?;
        used.workspace.create_dir(&self.absolute(path)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        let used = self.enter().await?;
        used.workspace.remove(&self.absolute(path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let used = self.enter().await?;
        used.workspace.rename(&self.absolute(from), &self.absolute(to)).await
    }

    async fn canonicalize(&self, path: &Path) -> Result<PathBuf, Error> {
        let used = self.enter().await?;
        used.workspace.canonicalize(&self.absolute(path)).await
    }

    async fn search(&self, mut search: Search) -> Result<Findings, Error> {
        let used = self.enter().await?;
        search.folder = self.absolute(&search.folder);
        used.workspace.search(search).await
    }

    async fn dial(&self, port: u16) -> Result<(Reader, Writer), Error> {
        let used = Arc::new(self.enter().await?);
        let (reader, writer) = used.workspace.dial(port).await?;
        let reader = watched::Used::new(reader, Arc::clone(&used));
        Ok((Box::pin(reader), Box::pin(watched::Used::new(writer, used))))
    }

    fn stay_awake(&self) -> Awake {
        Awake::holding(self.slot.stay_awake())
    }
}
