//! No box at all: this machine, in this process. Also what a server uses that is itself inside a container.

use std::{io, sync::Arc};

use async_trait::async_trait;
use longshore_workspace::{Local, LocalOptions, Stream, Workspace};

use super::{Circumstances, Kind};
use crate::{Backend, Death, Error, Finding, Found, Limits, Progress, SandboxId, Spec, Stats};

pub(super) const KIND: Kind = Kind { name: "local", make };

fn make(circumstances: Circumstances) -> Result<Arc<dyn Backend>, Error> {
    if !circumstances.options.is_null() {
        return Err(Error::Invalid("the backend 'local' has no options".to_owned()));
    }
    Ok(Arc::new(LocalBackend::new(circumstances.local)))
}

/// This machine as everybody's box: nothing isolates, nothing is limited, nothing is left to clean up.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    options: LocalOptions,
}

impl LocalBackend {
    /// Workspaces like `options`, each with a working folder of its own.
    pub fn new(options: LocalOptions) -> Self {
        Self { options }
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn is_isolated(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn findings(&self) -> Vec<Finding> {
        let advice = "for agents and users that you do not trust, choose another backend";
        vec![Finding::warning("isolation", "there is none: work is done as the server's own user", advice)]
    }

    async fn prepare(&self, _spec: &Spec, _progress: Progress<'_>) -> Result<(), Error> {
        Ok(())
    }

    async fn create(&self, _id: SandboxId, _spec: &Spec) -> Result<(), Error> {
        Ok(())
    }

    async fn start(&self, _id: SandboxId, _spec: &Spec) -> Result<(), Error> {
        Ok(())
    }

    async fn pause(&self, _id: SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn resume(&self, _id: SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn stop(&self, _id: SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn destroy(&self, _id: SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn set_limits(&self, _id: SandboxId, _limits: &Limits) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, _id: SandboxId) -> io::Result<Stream> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this machine is reached without a stream"))
    }

    fn in_process(&self, spec: &Spec) -> Option<Result<Arc<dyn Workspace>, Error>> {
        let mut options = self.options.clone();
        options.working_dir.clone_from(&spec.working_dir);
        options.env.extend(spec.env.iter().map(|(name, value)| (name.into(), value.into())));
        let local = Local::new(options).map_err(|error| Error::failed("use the working folder", error));
        Some(local.map(|local| Arc::new(local) as Arc<dyn Workspace>))
    }

    async fn stats(&self, _id: SandboxId) -> Result<Stats, Error> {
        Ok(Stats::default())
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        Ok(Vec::new())
    }

    async fn next_death(&self) -> Death {
        std::future::pending().await
    }
}
