//! Boxes that are containers of a Docker engine, here or elsewhere.
//!
//! Any Linux image will do: `boxd` comes into the container from outside and takes the place of the image's own program, so
//! nothing needs to be in the image, not even a shell. All that makes a box is found again by labels and names; nothing is
//! remembered here that a restart would lose.

mod archive;
mod build;
mod checkup;
mod config;
mod context;
mod create;
mod deaths;
mod disk;
mod engine;
mod facts;
mod firewall;
mod image;
mod layout;
mod lifecycle;
mod limits;
mod list;
mod network;
mod registry;
mod state;
mod stream;
mod usage;

use std::{collections::BTreeMap, io, net::IpAddr, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use config::Sharing;
use deaths::Watch;
use engine::{Engine, lacks};
use facts::Facts;
use image::Images;
use layout::Layout;
use lifecycle::Way;
use longshore_workspace::Stream;
use network::BridgeNetwork;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{Circumstances, Kind};
use crate::{Backend, Death, Deployment, Error, Finding, Found, Limits, Progress, SandboxId, Spec, Stats};

pub(super) const KIND: Kind = Kind { name: "docker", make };

fn make(circumstances: Circumstances) -> Result<Arc<dyn Backend>, Error> {
    let mut options: DockerOptions = super::options(KIND.name, circumstances.options)?;
    if let Some(image) = circumstances.default_image {
        options.image = image;
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if circumstances.is_personal && options.user.is_none() && !user.is_root() {
        options.user = Some(format!("{}:{}", user.as_raw(), group.as_raw()));
    }
    options.only_listed_images = circumstances.has_users;
    Ok(Arc::new(Docker::new(circumstances.deployment, options)))
}

/// How a [`Docker`] backend works.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerOptions {
    /// Where the engine listens: `unix:///path` or `tcp://host:port`. Without it `DOCKER_HOST` says so, or it is the usual
    /// socket.
    pub address: Option<String>,
    /// The image of boxes that ask for none.
    pub image: String,
    /// Images that boxes may ask for besides that one, as patterns: `python`, `ghcr.io/acme/**`, `debian:12*`. Without a tag
    /// all tags are meant, and without a registry the one that Docker takes. Nothing here means any image of a public registry
    /// (one of this machine or of a private network must be listed), and none on a server with users.
    pub allowed_images: Vec<String>,
    /// Whether an image that is not listed is refused even if nothing is listed.
    #[serde(skip)]
    pub only_listed_images: bool,
    /// Images that are built here when they are first wanted, by name: boxes may ask for them too.
    pub builds: BTreeMap<String, Build>,
    /// The runtime that starts the containers: `runsc` for gVisor. Without it the engine's own choice.
    pub runtime: Option<String>,
    /// The user in the box: a name, or numbers such as `1000:1000`. Without it the image says so.
    pub user: Option<String>,
    /// The name servers of boxes with [`crate::Network::Bridge`]; nothing here means those of this machine.
    pub dns: Vec<IpAddr>,
    /// Reaches boxes over processes that the engine starts, although a socket could be had.
    pub only_exec: bool,
}

impl Default for DockerOptions {
    fn default() -> Self {
        Self {
            address: None,
            image: "python:3.13".to_owned(),
            allowed_images: Vec::new(),
            only_listed_images: false,
            builds: BTreeMap::new(),
            runtime: None,
            user: None,
            dns: Vec::new(),
            only_exec: false,
        }
    }
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The folder with all that goes into it.
    pub context: PathBuf,
    /// The file with the steps, below the folder.
    #[serde(default = "dockerfile")]
    pub dockerfile: String,
}

fn dockerfile() -> String {
    "Dockerfile".to_owned()
}

/// Makes boxes that are containers of a Docker engine.
#[derive(Debug)]
pub struct Docker {
    deployment: Deployment,
    options: DockerOptions,
    layout: Layout,
    engine: Engine,
    images: Images,
    network: BridgeNetwork,
    watch: Watch,
    /// Whether a disk can have a limit here, since somebody tried.
    disks: OnceCell<bool>,
    learned: Mutex<Learned>,
}

/// What refusals of the engine have taught.
#[derive(Debug, Clone, Copy, Default)]
struct Learned {
    /// It does not see the files of this machine.
    must_copy: bool,
    /// Its storage cannot bound what a container writes.
    no_quota: bool,
    /// It does not see what is mounted on this machine later.
    sees_no_mounts: bool,
    /// Sockets of its containers are not seen on this machine.
    sees_no_sockets: bool,
}

impl Docker {
    /// Makes boxes for `deployment`. Nothing is asked of the engine yet.
    pub fn new(deployment: Deployment, options: DockerOptions) -> Self {
        let layout = Layout::new(&deployment);
        Self {
            engine: Engine::new(options.address.clone()),
            network: BridgeNetwork::new(&deployment, layout.network()),
            images: Images::default(),
            watch: Watch::default(),
            disks: OnceCell::new(),
            learned: Mutex::default(),
            layout,
            deployment,
            options,
        }
    }

    /// How the program and the folders of a new box come into it.
    fn sharing(&self, facts: &Facts) -> Sharing {
        if facts.shifts_users || facts.labels_files || self.learned.lock().must_copy {
            Sharing::Copied
        } else {
            Sharing::Mounted
        }
    }
}

#[async_trait]
impl Backend for Docker {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn validate(&self, spec: &Spec) -> Result<(), Error> {
        image::allow(spec.image.as_deref(), &self.options)?;
        config::validate(spec)
    }

    async fn check(&self) -> Result<(), Error> {
        let facts = self.engine.facts().await?;
        if let Some(runtime) = self.options.runtime.as_ref().filter(|runtime| !facts.runtimes.contains(runtime)) {
            let mut runtimes = facts.runtimes.clone();
            runtimes.sort();
            return Err(lacks(format!(
                "the engine has no runtime '{runtime}': add it to the engine's configuration, or choose one of {}",
                runtimes.join(", ")
            )));
        }
        if !self.deployment.program.is_file() {
            return Err(lacks(format!("the program {} is missing", self.deployment.program.display())));
        }
        self.network.probe(self).await;
        Ok(())
    }

    async fn is_alive(&self) -> Result<(), Error> {
        let ping = self.engine.client().await?.ping().await;
        ping.map(drop).map_err(|refusal| self.engine.failed("reach the engine", refusal))
    }

    /// Makes no box.
    async fn findings(&self) -> Vec<Finding> {
        self.check_up().await
    }

    async fn prepare(&self, spec: &Spec, progress: Progress<'_>) -> Result<(), Error> {
        self.images.fetch(self, spec.image.as_deref(), progress).await
    }

    async fn create(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        self.make(id, spec).await
    }

    async fn start(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        self.run(id, spec).await
    }

    async fn pause(&self, id: SandboxId) -> Result<(), Error> {
        self.freeze(id).await
    }

    async fn resume(&self, id: SandboxId) -> Result<(), Error> {
        self.thaw(id).await
    }

    async fn stop(&self, id: SandboxId) -> Result<(), Error> {
        self.halt(id).await
    }

    async fn destroy(&self, id: SandboxId) -> Result<(), Error> {
        self.remove(id).await
    }

    async fn set_limits(&self, id: SandboxId, limits: &Limits) -> Result<(), Error> {
        self.change_limits(id, limits).await
    }

    async fn open(&self, id: SandboxId) -> io::Result<Stream> {
        self.connect(id, Way::Any).await
    }

    async fn stats(&self, id: SandboxId) -> Result<Stats, Error> {
        self.usage(id).await
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        self.find().await
    }

    async fn next_death(&self) -> Death {
        self.watch.next(self).await
    }

    fn has_bridge(&self) -> bool {
        self.network.is_possible()
    }
}

/// Runs what waits for a disk or a program, aside.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}
