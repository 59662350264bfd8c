//! The folders of a box on this machine, and the disk that bounds one of them.

use std::time::Duration;

use super::{Docker, blocking, layout::Folders};
use crate::{
    Error, SandboxId,
    host::disk::{Disk, Resized, folder_bytes},
};

/// How long files are counted at first.
const COUNT_LIMIT: Duration = Duration::from_secs(5);

impl Docker {
    /// Makes the folders of a box, on a disk of `limit` bytes if that can be had.
    pub(super) async fn make_folders(&self, id: SandboxId, limit: Option<u64>) -> Result<(), Error> {
        let folders = self.layout.folders(id);
        let limit = match limit {
            Some(limit) if self.has_disks().await => Some(limit),
            _ => None,
        };
        let mounts = !self.learned.lock().sees_no_mounts;
        blocking(move || {
            folders.make().map_err(failed)?;
            folders.make_run(mounts).map_err(failed)?;
            if let Some(limit) = limit {
                let disk = folders.disk();
                disk.create(limit, (0, 0))?;
                disk.mount(Some(limit))?;
            }
            folders.make_workspace().map_err(failed)
        })
        .await
    }

    /// Mounts the disk of a box that is about to start, with a size of `limit` bytes, or the one it has.
    pub(super) async fn mount_disk(&self, id: SandboxId, limit: Option<u64>) -> Result<(), Error> {
        let disk = self.layout.folders(id).disk();
        blocking(move || if disk.exists() { disk.mount_anew(limit) } else { Ok(()) }).await
    }

    /// Makes the folder for the socket of a box that is about to start, if the box shares one: without what the last run has
    /// left, and again after this machine started again.
    pub(super) async fn renew_run(&self, id: SandboxId) -> Result<(), Error> {
        let folders = self.layout.folders(id);
        let mounts = !self.learned.lock().sees_no_mounts;
        blocking(move || if folders.exist() { folders.make_run(mounts) } else { Ok(()) }).await.map_err(failed)
    }

    /// Unmounts what a box had that has stopped.
    pub(super) async fn unmount(&self, id: SandboxId) -> Result<(), Error> {
        let folders = self.layout.folders(id);
        blocking(move || {
            folders
                .memory()
                .unmount()
                .map_err(|cause| Error::failed("unmount the folder of the box's socket", cause))?;
            folders.disk().unmount()
        })
        .await
    }

    /// Gives the disk of a box another size. A box without one is watched instead.
    pub(super) async fn resize_disk(&self, id: SandboxId, limit: Option<u64>) -> Result<(), Error> {
        let disk = self.layout.folders(id).disk();
        let Some(limit) = limit else { return Ok(()) };
        let resized = blocking(move || if disk.exists() { disk.resize(limit) } else { Ok(Resized::Now) }).await?;
        if resized == Resized::AtNextMount {
            tracing::info!(sandbox = %id, "a disk gets its new size when its box is started the next time");
        }
        Ok(())
    }

    /// Removes the folders of a box.
    pub(super) async fn remove_folders(&self, id: SandboxId) -> Result<(), Error> {
        let folders = self.layout.folders(id);
        blocking(move || {
            let removed = folders.memory().unmount();
            removed.map_err(|cause| Error::failed("unmount the folder of the box's socket", cause))?;
            folders.disk().remove()?;
            folders.remove().map_err(|cause| Error::failed("remove the folders of the box", cause))
        })
        .await
    }

    /// Whether a disk can have a limit here. The first call tries it.
    async fn has_disks(&self) -> bool {
        let dir = self.layout.dir();
        let tried = self.disks.get_or_init(|| {
            blocking(move || {
                let made = std::fs::create_dir_all(&dir).map_err(|cause| cause.to_string());
                let tried = made.and_then(|()| Disk::try_in(&dir));
                if let Err(reason) = &tried {
                    tracing::warn!(reason, "limits of /workspace do not hold by themselves on this machine");
                }
                tried.is_ok()
            })
        });
        *tried.await && !self.learned.lock().sees_no_mounts
    }
}

/// Bytes at `/workspace`, if it is a folder of this machine.
pub(super) fn workspace_usage(folders: &Folders) -> Result<u64, Error> {
    let disk = folders.disk();
    if disk.is_mounted() {
        return disk.usage();
    }
    folder_bytes(&folders.workspace(), COUNT_LIMIT)
        .map_err(|cause| Error::failed("measure what the box has on disk", cause))
}

fn failed(cause: std::io::Error) -> Error {
    Error::failed("make the folders of the box", cause)
}
