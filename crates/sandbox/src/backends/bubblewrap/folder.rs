//! The folder of a box on this machine.
//!
//! | name | what |
//! |---|---|
//! | `disk/` | what the box keeps: `workspace`, `home` and `tmp`; its owner is the user that the box is |
//! | `disk.img` | the disk that is mounted at `disk`, if it has a limit |
//! | `boxd.sock` | where `boxd` listens |
//! | `cgroup` | the box's control group |
//! | `stage/` | empty; the box is put together here, in a mount namespace that nobody else sees |

use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::{DirBuilderExt as _, PermissionsExt as _, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    Error, SandboxId,
    host::{
        cgroup::{Group, recorded},
        disk::Disk,
        remove_tree,
    },
};

/// What a box keeps, and who may do what there.
const PARTS: [(&str, u32); 3] = [("workspace", 0o755), ("home", 0o755), ("tmp", 0o1777)];

/// The folder of a box, which need not exist.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(dir: &Path, id: SandboxId) -> Self {
        Self { path: dir.join(id.to_string()) }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// What the box keeps.
    pub(super) fn disk(&self) -> PathBuf {
        self.path.join("disk")
    }

    /// Where the box is put together.
    pub(super) fn stage(&self) -> PathBuf {
        self.path.join("stage")
    }

    /// The disk with a limit, if it has one.
    pub(super) fn limited_disk(&self) -> Disk {
        Disk::new(self.path.join("disk.img"), self.disk())
    }

    /// Makes it, without what the box keeps. `user` is who the box is.
    pub(super) fn create(&self, user: Option<u32>) -> Result<(), Error> {
        let failed = |cause| Error::failed(format!("make the folder {}", self.path.display()), cause);
        let mut private = DirBuilder::new();
        private.mode(0o700).recursive(true);
        private.create(&self.path).and_then(|()| private.create(self.stage())).map_err(failed)?;
        if !self.limited_disk().is_mounted() {
            private.create(self.disk()).and_then(|()| give(&self.disk(), user)).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes what the box keeps. The box must not run: it could put a link where a folder is made.
    pub(super) fn furnish(&self, user: Option<u32>) -> Result<(), Error> {
        for (name, mode) in PARTS {
            let part = self.disk().join(name);
            let made = match fs::create_dir(&part) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made,
            };
            made.and_then(|()| fs::set_permissions(&part, fs::Permissions::from_mode(mode)))
                .and_then(|()| give(&part, user))
                .map_err(|cause| Error::failed(format!("make the folder {}", part.display()), cause))?;
        }
        Ok(())
    }

    /// Begins to listen where `boxd` will.
    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        match fs::remove_file(self.path.join(SOCKET)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let (_folder, path) = self.socket()?;
        UnixListener::bind(path)
    }

    /// Whether `boxd` was ever meant to listen.
    pub(super) fn has_socket(&self) -> bool {
        self.path.join(SOCKET).exists()
    }

    /// Takes away where `boxd` listened.
    pub(super) fn remove_socket(&self) {
        let _ = fs::remove_file(self.path.join(SOCKET));
    }

    /// A short path of the socket, since the system allows no long ones, with what keeps it good.
    pub(super) fn socket(&self) -> io::Result<(OwnedFd, PathBuf)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
        Ok((folder, path.into()))
    }

    /// Writes down the control group that the box will have.
    pub(super) fn record(&self, group: &dyn Group) -> Result<(), Error> {
        fs::write(self.path.join(GROUP), group.record())
            .map_err(|cause| Error::failed("write down the control group of a box", cause))
    }

    /// The control group that was written down.
    pub(super) fn group(&self) -> Option<Box<dyn Group>> {
        recorded(&fs::read_to_string(self.path.join(GROUP)).ok()?)
    }

    /// Removes it with all that is in it.
    pub(super) fn remove(&self) -> Result<(), Error> {
        self.limited_disk().remove()?;
        remove_tree(&self.path)
            .map_err(|cause| Error::failed(format!("remove the folder {}", self.path.display()), cause))
    }
}

const SOCKET: &str = "boxd.sock";
const GROUP: &str = "cgroup";

/// The boxes that have folders in `dir`.
pub(super) fn ids(dir: &Path) -> io::Result<Vec<SandboxId>> {
    match fs::read_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(cause),
        Ok(entries) => Ok(entries.flatten().filter_map(|entry| id(entry.file_name().to_str()?)).collect()),
    }
}

/// The box that is called `name`, in the one form that folders, groups and marks use.
pub(super) fn id(name: &str) -> Option<SandboxId> {
    name.parse::<SandboxId>().ok().filter(|id| id.to_string() == name)
}

fn give(path: &Path, user: Option<u32>) -> io::Result<()> {
    user.map_or(Ok(()), |user| chown(path, Some(user), Some(user)))
}
