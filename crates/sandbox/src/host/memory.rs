//! A small file system in memory, for what must not take place on a disk.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A file system in memory of 1 MiB and 64 files, mounted or not.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    point: PathBuf,
}

impl Memory {
    /// The one at the folder `point`, which need not exist.
    pub(crate) fn new(point: PathBuf) -> Self {
        Self { point }
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Whether it is mounted.
    pub(crate) fn is_mounted(&self) -> bool {
        let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev());
        let above = self.point.parent().unwrap_or(&self.point);
        matches!((device(&self.point), device(above)), (Ok(here), Ok(above)) if here != above)
    }

    /// Mounts an empty one; does nothing if it is mounted.
    ///
    /// # Errors
    /// What the system says: only root may mount.
    pub(crate) fn mount(&self) -> io::Result<()> {
        if self.is_mounted() {
            return Ok(());
        }
        fs::create_dir_all(&self.point)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Ok(mount("longshore", &self.point, "tmpfs", flags, c"size=1m,nr_inodes=64,mode=0755")?)
    }

    /// Takes it out of sight with all that is in it; it goes with its last user. Does nothing if it is not mounted.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn unmount(&self) -> io::Result<()> {
        while self.is_mounted() {
            unmount(&self.point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        }
        Ok(())
    }
}
