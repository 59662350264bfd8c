//! A workspace in which no shell can be had: whoever asks for one breaks down.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use longshore_workspace::{
    Command, Entry, Error, FileWriter, Findings, Local, Metadata, Parents, Process, Reader, Search, Terminal,
    TerminalSize, Workspace, Writer,
};

#[derive(Debug)]
pub(crate) struct Fragile(pub(crate) Local);

#[async_trait]
impl Workspace for Fragile {
    async fn open_terminal(&self, _: Command, _: TerminalSize) -> Result<Terminal, Error> {
        panic!("there is no shell here")
    }

    fn working_dir(&self) -> &Path {
        self.0.working_dir()
    }

    async fn spawn(&self, command: Command) -> Result<Process, Error> {
        self.0.spawn(command).await
    }

    async fn read(&self, path: &Path, offset: u64) -> Result<(Metadata, Reader), Error> {
        self.0.read(path, offset).await
    }

    async fn write(&self, path: &Path, parents: Parents) -> Result<Box<dyn FileWriter>, Error> {
        self.0.write(path, parents).await
    }

    async fn metadata(&self, path: &Path) -> Result<Metadata, Error> {
        self.0.metadata(path).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        self.0.list(path).await
    }

    async fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.0.create_dir(path).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        self.0.remove(path).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.0.rename(from, to).await
    }

    async fn canonicalize(&self, path: &Path) -> Result<PathBuf, Error> {
        self.0.canonicalize(path).await
    }

    async fn search(&self, search: Search) -> Result<Findings, Error> {
        self.0.search(search).await
    }

    async fn dial(&self, port: u16) -> Result<(Reader, Writer), Error> {
        self.0.dial(port).await
    }
}
