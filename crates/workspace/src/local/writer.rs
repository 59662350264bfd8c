//! Files written at once: a temporary file beside the place, which takes the place when it is complete.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use rustix::{
    fs::{Gid, Uid},
    io::Errno,
};
use tempfile::NamedTempFile;

use super::files;
use crate::{Error, FileKind, FileWriter, Parents};

/// Small writes are collected up to this size.
const CHUNK: usize = 256 * 1024;

/// As many symbolic links as the system itself follows.
const MAX_LINKS: usize = 40;

/// Opens a temporary file for what will be at `path`.
pub(super) fn create(path: PathBuf, parents: Parents) -> Result<Writer, Error> {
    let target = follow(&path)?;
    let existing = match fs::metadata(&target) {
        Ok(metadata) => Some(metadata),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(Error::at("write", &path, cause)),
    };
    match existing.as_ref().map(|metadata| FileKind::from(metadata.file_type())) {
        None | Some(FileKind::File) => {}
        Some(FileKind::Directory) => return Err(Error::IsADirectory { path }),
        // To put a file in the place of a device would break it for everybody.
        Some(FileKind::Symlink | FileKind::Other) => return Err(Error::NotAFile { path }),
    }
    let Some(folder) = target.parent().filter(|_| target.file_name().is_some()) else {
        return Err(Error::IsADirectory { path });
    };
    if parents == Parents::Created {
        files::create_dir(folder)?;
    }
    let mut builder = tempfile::Builder::new();
    // What a new file gets; the umask takes its part.
    builder.prefix(".longshore-").permissions(Permissions::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(|cause| Error::at("write", &path, cause))?;
    if let Some(existing) = existing {
        let like = keep(file.as_file(), &existing);
        like.map_err(|cause| Error::at("write", &path, cause))?;
    }
    Ok(Writer { path, target, file: Some(file), pending: Vec::new() })
}

/// Where a write to `path` goes: through symbolic links, also through one to a file that is not there yet.
fn follow(path: &Path) -> Result<PathBuf, Error> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&target) {
            Ok(link) => target = target.parent().map_or_else(|| link.clone(), |folder| folder.join(&link)),
            Err(cause) => {
                return match Errno::from_io_error(&cause) {
                    // No link, or nothing.
                    Some(Errno::INVAL | Errno::NOENT) => Ok(target),
                    _ => Err(Error::at("write", path, cause)),
                };
            }
        }
    }
    Err(Error::at("write", path, Errno::LOOP))
}

/// Gives a file the mode and, as far as allowed, the owner of the one that it replaces.
fn keep(file: &File, existing: &fs::Metadata) -> io::Result<()> {
    let current = file.metadata()?;
    if (current.uid(), current.gid()) != (existing.uid(), existing.gid()) {
        let (owner, group) = (Uid::from_raw(existing.uid()), Gid::from_raw(existing.gid()));
        if rustix::fs::fchown(file, Some(owner), Some(group)).is_err() {
            // Only root may give files away; the group may still be one of the writer's own.
            let _ = rustix::fs::fchown(file, None, Some(group));
        }
    }
    // After the owner, whose change clears the set-user-id bits.
    file.set_permissions(existing.permissions())
}

/// A file that is being written. Its temporary file vanishes with it.
pub(super) struct Writer {
    /// What was asked for, for errors.
    path: PathBuf,
    target: PathBuf,
    /// Away while a thread writes to it.
    file: Option<NamedTempFile>,
    pending: Vec<u8>,
}

#[async_trait]
impl FileWriter for Writer {
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.pending.len() == CHUNK {
                self.flush().await?;
            }
            let count = bytes.len().min(CHUNK - self.pending.len());
            self.pending.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Error> {
        let mut file = self.take()?;
        let Self { path, target, pending, .. } = *self;
        super::blocking(move || {
            file.as_file_mut()
                .write_all(&pending)
                .and_then(|()| place(file, &target))
                .map_err(|cause| Error::at("write", &path, cause))
        })
        .await
    }
}

impl Writer {
    async fn flush(&mut self) -> Result<(), Error> {
        let (mut file, mut pending, path) = (self.take()?, std::mem::take(&mut self.pending), self.path.clone());
        let written = super::blocking(move || {
            file.as_file_mut().write_all(&pending).map_err(|cause| Error::at("write", &path, cause))?;
            pending.clear();
            Ok((file, pending))
        });
        let (file, pending) = written.await?;
        (self.file, self.pending) = (Some(file), pending);
        Ok(())
    }

    fn take(&mut self) -> Result<NamedTempFile, Error> {
        let failed = || Error::at("write", &self.path, io::Error::other("an earlier write failed or was given up"));
        self.file.take().ok_or_else(failed)
    }
}

/// Puts a complete temporary file in its place.
fn place(file: NamedTempFile, target: &Path) -> io::Result<()> {
    match file.persist(target) {
        Ok(_) => Ok(()),
        // A file that is a mount point, such as /etc/hosts in a container, can be written but not replaced.
        Err(failed) if Errno::from_io_error(&failed.error) == Some(Errno::BUSY) => {
            let mut content = failed.file.reopen()?;
            let mut place = File::options().write(true).truncate(true).open(target)?;
            io::copy(&mut content, &mut place).map(drop)
        }
        Err(failed) => Err(failed.error),
    }
}
