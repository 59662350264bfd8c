//! What a box keeps on this machine, and what its parts are called.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    Deployment, SandboxId,
    host::{Memory, disk::Disk, remove_tree},
};

/// The label with the deployment's name, on all that belongs to it.
pub(super) const DEPLOYMENT_LABEL: &str = "longshore.deployment";
/// The label with the box's id, on all that belongs to it.
pub(super) const BOX_LABEL: &str = "longshore.box";

/// Our own folder in a box.
pub(super) const OWN_DIR: &str = "/.longshore";
/// The program in a box.
pub(super) const PROGRAM: &str = "/.longshore/longshore";
/// The folder in a box with the socket, if the box shares one with this machine.
pub(super) const RUN_DIR: &str = "/.longshore/run";
/// The name of the socket in that folder.
pub(super) const SOCKET: &str = "boxd.sock";
/// Where `boxd` listens in a box that shares no folder: a name without a file, so that any image will do.
pub(super) const ABSTRACT_SOCKET: &str = "@longshore-boxd";
/// The folder in a box that outlives everything but the box.
pub(super) const WORKSPACE: &str = "/workspace";

/// What the things of one deployment are called, and where they are.
#[derive(Debug)]
pub(super) struct Layout {
    deployment: String,
    dir: PathBuf,
}

impl Layout {
    pub(super) fn new(deployment: &Deployment) -> Self {
        // A folder of its own, so that no other backend takes the folders here for boxes that somebody lost.
        Self { deployment: deployment.name.clone(), dir: deployment.dir.join("docker") }
    }

    /// The name of a box's container.
    pub(super) fn container(&self, id: SandboxId) -> String {
        format!("longshore-{}-{id}", self.deployment)
    }

    /// The name of a box's volume for [`WORKSPACE`].
    pub(super) fn volume(&self, id: SandboxId) -> String {
        format!("longshore-{}-{id}-workspace", self.deployment)
    }

    /// The name of the network that boxes with [`crate::Network::Bridge`] share.
    pub(super) fn network(&self) -> String {
        format!("longshore-{}", self.deployment)
    }

    /// What a box keeps on this machine.
    pub(super) fn folders(&self, id: SandboxId) -> Folders {
        Folders { root: self.dir.join(id.to_string()) }
    }

    /// The folder with the folders of all boxes.
    pub(super) fn dir(&self) -> PathBuf {
        self.dir.clone()
    }
}

/// What a box keeps on this machine.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Whether they are there.
    pub(super) fn exist(&self) -> bool {
        self.root.exists()
    }

    /// Where `boxd` makes its socket: a folder below the mount, so that an engine that does not see the mount says so.
    pub(super) fn run(&self) -> PathBuf {
        self.memory().point().join("run")
    }

    /// The little file system in memory that holds that folder, so that nobody fills the disk of this machine through it.
    pub(super) fn memory(&self) -> Memory {
        Memory::new(self.root.join("memory"))
    }

    /// What is at [`WORKSPACE`] in the box.
    pub(super) fn workspace(&self) -> PathBuf {
        self.disk_dir().join("workspace")
    }

    /// The disk that bounds the workspace, which need not exist.
    pub(super) fn disk(&self) -> Disk {
        Disk::new(self.image(), self.disk_dir())
    }

    /// Makes them, closed to everybody else, and in them what every user in the box may write to.
    pub(super) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.disk_dir())
    }

    /// Makes the folder for the socket, in memory if `mounts` and this process may mount.
    pub(super) fn make_run(&self, mounts: bool) -> io::Result<()> {
        let memory = self.memory();
        memory.unmount()?;
        if mounts
            && rustix::process::geteuid().is_root()
            && let Err(cause) = memory.mount()
        {
            tracing::warn!(%cause, "what a box writes beside its socket is counted, and has no limit of its own");
        }
        make_open(&self.run())
    }

    /// Makes the workspace, on the disk if there is one.
    pub(super) fn make_workspace(&self) -> io::Result<()> {
        make_open(&self.workspace())
    }

    /// Removes them.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.root)
    }

    fn disk_dir(&self) -> PathBuf {
        self.root.join("disk")
    }

    fn image(&self) -> PathBuf {
        self.root.join("disk.img")
    }
}

fn make_open(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

/// The boxes that have folders in `dir`.
pub(super) fn boxes(dir: &Path) -> io::Result<Vec<SandboxId>> {
    let entries = match fs::read_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut boxes = Vec::new();
    for entry in entries {
        boxes.extend(entry?.file_name().to_str().and_then(|name| name.parse::<SandboxId>().ok()));
    }
    Ok(boxes)
}
