//! The folder that the files are in.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use crate::Error;

/// Makes a folder that other users cannot look into, unless it is there.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))
}

/// Makes sure that the names of files made before are on disk.
pub(crate) fn flush(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("flush", path))
}
