//! Folders, names and what is at a path.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Entry, Error, FileKind, MAX_ENTRIES, Metadata};

pub(super) fn metadata(path: &Path) -> Result<Metadata, Error> {
    Ok(fs::metadata(path).map_err(|cause| Error::at("look at", path, cause))?.into())
}

pub(super) fn list(path: &Path) -> Result<Vec<Entry>, Error> {
    let failed = |cause| Error::at("list", path, cause);
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entries.len() == MAX_ENTRIES {
            return Err(Error::TooManyEntries { path: path.to_owned(), limit: MAX_ENTRIES });
        }
        // Some file systems do not tell the kind in the listing; an entry may vanish before it is asked for.
        let kind = match entry.file_type() {
            Ok(kind) => kind.into(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(failed(cause)),
        };
        entries.push(Entry { name: entry.file_name(), kind });
    }
    Ok(entries)
}

pub(super) fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|cause| match cause.kind() {
        // The last part is there and is no folder.
        io::ErrorKind::AlreadyExists => Error::NotADirectory { path: path.to_owned() },
        _ => Error::at("make the folder", path, cause),
    })
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::at("remove", path, cause);
    if fs::symlink_metadata(path).map_err(failed)?.is_dir() {
        fs::remove_dir_all(path).map_err(failed)
    } else {
        fs::remove_file(path).map_err(failed)
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|cause| {
        let missing = cause.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(from).is_ok();
        // The system does not say which of the two it speaks of.
        let path = if missing { to.parent().unwrap_or(to) } else { from };
        match cause.kind() {
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                Error::at("rename to", to, cause)
            }
            _ => Error::at("rename", path, cause),
        }
    })
}

pub(super) fn canonicalize(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(|cause| Error::at("resolve", path, cause))
}

impl From<fs::Metadata> for Metadata {
    fn from(metadata: fs::Metadata) -> Self {
        Self { kind: metadata.file_type().into(), len: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl From<fs::FileType> for FileKind {
    fn from(kind: fs::FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Symlink
        } else {
            Self::Other
        }
    }
}
