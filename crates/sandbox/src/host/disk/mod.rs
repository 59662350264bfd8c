//! Disks of a fixed size: a sparse file with a file system, mounted where a folder would be.
//!
//! Whoever writes more than fits gets the error that a full disk gives. It needs root and loop devices; elsewhere a plain
//! folder takes the place of the disk, and [`folder_usage`] tells how much is in it.

mod ext4;
mod loops;
mod usage;

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, mount::UnmountFlags};
pub use usage::{Count, folder_bytes, folder_usage};

use super::{remove_tree, tool};
use crate::Error;

/// The smallest disk.
pub const SMALLEST: u64 = 4 << 20;

/// The folder that a disk is tried in.
const TRIAL: &str = ".disk-trial";

/// How long a disk may stay busy after its last user, who may have died a moment ago.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// A disk of a fixed size, mounted or not.
#[derive(Debug, Clone)]
pub struct Disk {
    image: PathBuf,
    point: PathBuf,
}

/// When a disk has its new size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resized {
    /// It has.
    Now,
    /// When it is mounted the next time: this machine does not change a file system that is in use.
    AtNextMount,
}

impl Disk {
    /// The disk in the file `image` that is mounted at the folder `point`. Neither need exist.
    pub fn new(image: PathBuf, point: PathBuf) -> Self {
        Self { image, point }
    }

    /// Whether this machine can have such disks: makes, mounts and removes one in `folder`.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn try_in(folder: &Path) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount a disk".to_owned());
        }
        if let Some(missing) =
            ["mkfs.ext4", "e2fsck", "resize2fs", "mount"].into_iter().find(|tool| !tool::exists(tool))
        {
            return Err(format!("the program {missing} is missing; install e2fsprogs and util-linux"));
        }
        let failed = |cause: io::Error| format!("{}: {cause}", folder.display());
        let trial = Trial::begin(folder).map_err(failed)?;
        trial.clear()?;
        fs::create_dir(&trial.place).map_err(failed)?;
        let tried = trial.disk().create(SMALLEST, (0, 0)).and_then(|()| trial.disk().mount(None));
        let removed = trial.clear();
        tried.map_err(|cause| cause.to_string()).and(removed)
    }

    /// Removes what is left in `folder` of a trial whose process died; does nothing if there is no such folder.
    ///
    /// # Errors
    /// [`Error::Failed`] for what the system says.
    pub fn clear_trial(folder: &Path) -> Result<(), Error> {
        if !folder.join(TRIAL).exists() {
            return Ok(());
        }
        let cleared = Trial::begin(folder).map_err(|cause| cause.to_string()).and_then(|trial| trial.clear());
        cleared.map_err(|cause| Error::failed("remove a disk that was tried", io::Error::other(cause)))
    }

    /// Whether there is a disk, mounted or not.
    pub fn exists(&self) -> bool {
        self.image.exists()
    }

    /// Makes a disk of so many bytes, which belongs to a user and a group; does nothing if there is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] below [`SMALLEST`], [`Error::Failed`] for what the system says.
    pub fn create(&self, bytes: u64, owner: (u32, u32)) -> Result<(), Error> {
        if self.exists() {
            return Ok(());
        }
        // The name comes last: a disk that was broken off is no disk.
        let unfinished = self.image.with_extension("new");
        set_len(&unfinished, checked(bytes)?)
            .and_then(|()| ext4::make(&unfinished, owner))
            .and_then(|()| fs::rename(&unfinished, &self.image))
            .map_err(|cause| Error::failed("make a disk", cause))
    }

    /// Whether it is mounted.
    pub fn is_mounted(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        let above = self.point.parent().unwrap_or(&self.point);
        matches!((device(&self.point), device(above)), (Ok(here), Ok(above)) if here != above)
    }

    /// Mounts it, with a size of so many bytes if they are given, after a check that mends what a crash has left; does
    /// nothing if it is mounted. A disk with more on it than fits keeps its size.
    ///
    /// # Errors
    /// [`Error::Failed`] if the disk is damaged, or there are no more loop devices.
    pub fn mount(&self, bytes: Option<u64>) -> Result<(), Error> {
        if self.is_mounted() {
            return Ok(());
        }
        fs::create_dir_all(&self.point).map_err(|cause| Error::failed("make the folder of a disk", cause))?;
        match bytes.map_or(Ok(()), |bytes| self.fit(bytes)) {
            Err(Error::Invalid(reason)) => {
                tracing::warn!(image = %self.image.display(), reason, "a disk keeps its size");
            }
            result => result?,
        }
        ext4::check(&self.image, false).map_err(|cause| Error::failed("check a disk", cause))?;
        ext4::mount(&self.image, &self.point).map_err(|cause| Error::failed("mount a disk", cause))
    }

    /// As [`Disk::mount`], for a disk that nobody uses: one that is mounted with another size gets this one.
    ///
    /// # Errors
    /// As [`Disk::mount`] and [`Disk::unmount`].
    pub fn mount_anew(&self, bytes: Option<u64>) -> Result<(), Error> {
        let wanted = bytes.and_then(|bytes| ext4::rounded(&self.image, bytes).ok());
        if wanted.is_some() && wanted != self.size().ok() {
            self.unmount()?;
        }
        self.mount(bytes)
    }

    /// Unmounts it; does nothing if it is not mounted. One that is still used after ten seconds vanishes from sight and
    /// is unmounted with its last user.
    ///
    /// # Errors
    /// What the system says.
    pub fn unmount(&self) -> Result<(), Error> {
        let deadline = Instant::now() + BUSY_LIMIT;
        while self.is_mounted() {
            let flags = if Instant::now() < deadline { UnmountFlags::empty() } else { UnmountFlags::DETACH };
            match rustix::mount::unmount(&self.point, flags | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(rustix::io::Errno::BUSY) => thread::sleep(Duration::from_millis(1)),
                Err(cause) => return Err(Error::failed("unmount a disk", cause)),
            }
        }
        Ok(())
    }

    /// Gives it another size, at once if that is possible.
    ///
    /// # Errors
    /// [`Error::Invalid`] if what is on it does not fit, [`Error::Failed`] for what the system says.
    pub fn resize(&self, bytes: u64) -> Result<Resized, Error> {
        checked(bytes)?;
        if !self.is_mounted() {
            return self.fit(bytes).map(|()| Resized::Now);
        }
        // What the file says of the file system is old after it grew in use, and the file is never shorter than that. While it
        // is mounted the file must not become shorter than either.
        let length = fs::metadata(&self.image).map_err(|cause| Error::failed("look at a disk", cause))?.len();
        if bytes >= length.max(self.size()?) {
            let grown = set_len(&self.image, bytes).and_then(|()| loops::grow(&self.point));
            return Ok(if grown.is_ok() { Resized::Now } else { Resized::AtNextMount });
        }
        if self.usage()? > bytes {
            return Err(too_small(bytes));
        }
        Ok(Resized::AtNextMount)
    }

    /// How many bytes are used on it.
    ///
    /// # Errors
    /// [`Error::Gone`] if it is not mounted.
    pub fn usage(&self) -> Result<u64, Error> {
        if !self.is_mounted() {
            return Err(Error::Gone("its disk is not mounted".to_owned()));
        }
        let facts = rustix::fs::statvfs(&self.point).map_err(|cause| Error::failed("look at a disk", cause))?;
        Ok(facts.f_blocks.saturating_sub(facts.f_bfree) * facts.f_frsize)
    }

    /// Unmounts and removes it; does nothing if there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self) -> Result<(), Error> {
        self.unmount()?;
        for file in [self.image.with_extension("new"), self.image.clone()] {
            match fs::remove_file(&file) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::failed("remove a disk", cause));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn size(&self) -> Result<u64, Error> {
        ext4::size(&self.image).map_err(|cause| Error::failed("read the size of a disk", cause))
    }

    /// Gives it another size while it is not mounted. The file system's own size says what is to be done, so a change that
    /// was broken off is finished by the next one.
    fn fit(&self, bytes: u64) -> Result<(), Error> {
        let failed = |cause: io::Error| Error::failed("change the size of a disk", cause);
        let size = self.size()?;
        let wanted = ext4::rounded(&self.image, checked(bytes)?).map_err(failed)?;
        if size == wanted {
            return Ok(());
        }
        loops::wait_until_free(&self.image, Instant::now() + BUSY_LIMIT).map_err(failed)?;
        ext4::check(&self.image, true).map_err(failed)?;
        if size < wanted {
            set_len(&self.image, bytes).and_then(|()| ext4::resize(&self.image, wanted)).map_err(failed)
        } else {
            ext4::resize(&self.image, wanted).map_err(|_| too_small(bytes))?;
            set_len(&self.image, bytes).map_err(failed)
        }
    }
}

/// The place where a disk is tried. Whoever has it is alone, so what is there at first was left by one who died.
struct Trial {
    place: PathBuf,
    _lock: fs::File,
}

impl Trial {
    fn begin(folder: &Path) -> io::Result<Self> {
        let lock = fs::File::open(folder)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self { place: folder.join(TRIAL), _lock: lock })
    }

    fn disk(&self) -> Disk {
        Disk::new(self.place.join("image"), self.place.join("mount"))
    }

    fn clear(&self) -> Result<(), String> {
        self.disk().remove().map_err(|cause| cause.to_string())?;
        remove_tree(&self.place).map_err(|cause| format!("{}: {cause}", self.place.display()))
    }
}

fn checked(bytes: u64) -> Result<u64, Error> {
    if bytes < SMALLEST {
        return Err(Error::Invalid(format!("a disk of {bytes} bytes is too small: ask for 4m or more")));
    }
    Ok(bytes)
}

fn too_small(bytes: u64) -> Error {
    Error::Invalid(format!("the disk cannot shrink to {bytes} bytes, since more is in use: remove files first"))
}

/// Makes a file that only its owner sees, of so many bytes that take no place yet.
fn set_len(path: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?.set_len(bytes)
}
