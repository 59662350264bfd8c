//! Archives for the engine, written while they are sent.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tar::{Builder, EntryType, Header};
use tokio::io::DuplexStream;
use tokio_util::io::{ReaderStream, SyncIoBridge};

/// How many bytes wait to be sent.
const BUFFER: usize = 256 * 1024;

/// Where an archive is written.
pub(super) type Archive = Builder<SyncIoBridge<DuplexStream>>;

/// What `write` writes. If it fails, so does the stream: the engine never takes half an archive for a whole one.
pub(super) fn stream(
    write: impl FnOnce(&mut Archive) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let writing = tokio::task::spawn_blocking(move || {
        let mut archive = Builder::new(SyncIoBridge::new(writer));
        write(&mut archive)?;
        archive.finish()
    });
    let outcome = stream::once(writing).filter_map(|outcome| async {
        match outcome {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(Err(cause)),
            Err(ended) => Some(Err(io::Error::other(ended))),
        }
    });
    ReaderStream::with_capacity(reader, BUFFER).chain(outcome)
}

/// Adds an empty folder of root's.
pub(super) fn add_dir(archive: &mut Archive, path: &str, mode: u32) -> io::Result<()> {
    let mut header = header(EntryType::Directory, mode, 0);
    archive.append_data(&mut header, path, io::empty())
}

/// Adds what is at `from`, as root's: a folder without what is in it, a file, a symbolic link.
pub(super) fn add(archive: &mut Archive, path: &str, from: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, std::fs::read_link(from)?);
    }
    if metadata.is_dir() {
        return add_dir(archive, path, metadata.permissions().mode());
    }
    add_file(archive, path, from)
}

/// Adds a file as one of root's, with its mode.
pub(super) fn add_file(archive: &mut Archive, path: &str, from: &Path) -> io::Result<()> {
    let file = std::fs::File::open(from)?;
    let metadata = file.metadata()?;
    let mut header = header(EntryType::Regular, metadata.permissions().mode(), metadata.len());
    // A file that grows meanwhile would break the archive.
    archive.append_data(&mut header, path, io::Read::take(file, metadata.len()))
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
