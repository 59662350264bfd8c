//! Who a box is on this machine.
//!
//! If the server is root, each box is a user of its own who owns nothing but the box, so that one which breaks out of its
//! namespaces still cannot touch another box, the server or anybody's files. The number is kept as the owner of the box's
//! `disk` folder. Otherwise every box is the user that the server is.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use crate::{Error, SandboxId};

/// The users that boxes of a deployment are.
#[derive(Debug)]
pub(super) struct Users {
    /// None if all are the user that this process is.
    range: Option<Range<u32>>,
    dir: PathBuf,
    taken: Mutex<Option<BTreeMap<SandboxId, u32>>>,
}

impl Users {
    /// Those in `range`, for boxes with folders in `dir`.
    pub(super) fn new(range: Range<u32>, dir: &Path) -> Self {
        let range = Some(range).filter(|range| rustix::process::geteuid().is_root() && !range.is_empty());
        Self { range, dir: dir.to_owned(), taken: Mutex::default() }
    }

    /// The user, whose group has the same number, that a box is or becomes; none if it is the server's.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are more boxes than users.
    pub(super) fn of(&self, id: SandboxId) -> Result<Option<u32>, Error> {
        let Some(range) = &self.range else { return Ok(None) };
        let mut taken = self.taken.lock();
        let taken = match &mut *taken {
            Some(taken) => taken,
            unread => unread.insert(self.read(range).map_err(|cause| Error::failed("list the boxes", cause))?),
        };
        if let Some(uid) = taken.get(&id) {
            return Ok(Some(*uid));
        }
        let others: std::collections::BTreeSet<_> = taken.values().copied().collect();
        // Two deployments begin at different places, since ids are random.
        let length = range.end.saturating_sub(range.start);
        let first = u32::try_from(id.0.as_u128() % u128::from(length.max(1))).unwrap_or(0);
        let uid = (0..length)
            .map(|step| range.start + (first + step % length) % length)
            .find(|uid| !others.contains(uid))
            .ok_or_else(|| {
                Error::Invalid(format!("all {length} user numbers for boxes are taken: give bubblewrap a wider range"))
            })?;
        taken.insert(id, uid);
        Ok(Some(uid))
    }

    /// Lets another box have the number of a box that is gone.
    pub(super) fn free(&self, id: SandboxId) {
        if let Some(taken) = &mut *self.taken.lock() {
            taken.remove(&id);
        }
    }

    /// Whether a box can be this user.
    pub(super) fn contains(&self, uid: u32) -> bool {
        match &self.range {
            Some(range) => range.contains(&uid),
            None => uid == rustix::process::geteuid().as_raw(),
        }
    }

    fn read(&self, range: &Range<u32>) -> io::Result<BTreeMap<SandboxId, u32>> {
        let mut taken = BTreeMap::new();
        for id in super::folder::ids(&self.dir)? {
            if let Ok(disk) = fs::metadata(super::folder::Folder::new(&self.dir, id).disk())
                && range.contains(&disk.uid())
            {
                taken.insert(id, disk.uid());
            }
        }
        Ok(taken)
    }
}
