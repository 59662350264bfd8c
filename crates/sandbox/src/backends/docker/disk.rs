//! The folders of a box on this machine, and what bounds them.

use super::{Docker, blocking};
use crate::{Error, SandboxId};

impl Docker {
    /// Makes the folders of a box.
    pub(super) async fn make_folders(&self, id: SandboxId) -> Result<(), Error> {
        let folders = self.layout.folders(id);
        blocking(move || folders.make()).await.map_err(|cause| Error::failed("make the folders of the box", cause))
    }

    /// Removes the folders of a box.
    pub(super) async fn remove_folders(&self, id: SandboxId) -> Result<(), Error> {
        let folders = self.layout.folders(id);
        blocking(move || folders.remove()).await.map_err(|cause| Error::failed("remove the folders of the box", cause))
    }
}
