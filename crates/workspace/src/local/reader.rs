//! Files read ahead.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::fs::OFlags;
use tokio::{
    io::{AsyncRead, ReadBuf},
    task::JoinHandle,
};

use crate::{Error, FileKind, Metadata};

/// How much is read at once. A file that is no larger is read where it is opened, without another change of threads.
const CHUNK: usize = 256 * 1024;

/// Opens a regular file and reads its first part.
pub(super) fn open(path: PathBuf, offset: u64) -> Result<(Metadata, FileReader), Error> {
    let failed = |cause: io::Error| Error::at("read", &path, cause);
    // Opening a device can have effects, so what is there is looked at before, and again after for who is quicker.
    regular(&path, fs::metadata(&path).map_err(failed)?.into())?;
    let mut options = File::options();
    // A pipe without a writer is not waited for.
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    let file = options.open(&path).map_err(failed)?;
    let metadata = regular(&path, file.metadata().map_err(failed)?.into())?;
    let left = usize::try_from(metadata.len.saturating_sub(offset)).unwrap_or(CHUNK);
    // One byte more shows the end of a file in the same read; files that do not know their length get a page.
    let capacity = left.saturating_add(1).clamp(4096, CHUNK);
    let chunk = Chunk { file, offset, buffer: vec![0; capacity], filled: 0, taken: 0, ended: false };
    let chunk = chunk.fill().map_err(failed)?;
    Ok((metadata, FileReader { state: State::Ready(chunk) }))
}

fn regular(path: &std::path::Path, metadata: Metadata) -> Result<Metadata, Error> {
    match metadata.kind {
        FileKind::File => Ok(metadata),
        FileKind::Directory => Err(Error::IsADirectory { path: path.to_owned() }),
        FileKind::Symlink | FileKind::Other => Err(Error::NotAFile { path: path.to_owned() }),
    }
}

/// The bytes of a file.
pub(super) struct FileReader {
    state: State,
}

enum State {
    Ready(Chunk),
    Filling(JoinHandle<io::Result<Chunk>>),
    Failed,
}

/// A part of a file in memory.
struct Chunk {
    file: File,
    /// Where the next part starts.
    offset: u64,
    buffer: Vec<u8>,
    /// How much of the buffer is from the file.
    filled: usize,
    /// How much of that the reader has had.
    taken: usize,
    ended: bool,
}

impl AsyncRead for FileReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Ready(chunk) => {
                    let left = &chunk.buffer[chunk.taken..chunk.filled];
                    if !left.is_empty() || chunk.ended || buf.remaining() == 0 {
                        let count = left.len().min(buf.remaining());
                        buf.put_slice(&left[..count]);
                        chunk.taken += count;
                        return Poll::Ready(Ok(()));
                    }
                    let State::Ready(mut chunk) = std::mem::replace(&mut self.state, State::Failed) else { continue };
                    chunk.buffer.resize(CHUNK, 0);
                    self.state = State::Filling(tokio::task::spawn_blocking(move || chunk.fill()));
                }
                State::Filling(task) => {
                    let filled = ready!(Pin::new(task).poll(cx)).map_err(io::Error::other).flatten();
                    match filled {
                        Ok(chunk) => self.state = State::Ready(chunk),
                        Err(cause) => {
                            self.state = State::Failed;
                            return Poll::Ready(Err(cause));
                        }
                    }
                }
                State::Failed => return Poll::Ready(Err(io::Error::other("an earlier read failed"))),
            }
        }
    }
}

impl Chunk {
    /// Reads until the buffer is full or the file ends.
    fn fill(mut self) -> io::Result<Self> {
        (self.filled, self.taken) = (0, 0);
        while self.filled < self.buffer.len() && !self.ended {
            match self.file.read_at(&mut self.buffer[self.filled..], self.offset) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.filled += count;
                    self.offset += count as u64;
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(self)
    }
}
