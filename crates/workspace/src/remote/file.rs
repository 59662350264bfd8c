//! Files that are elsewhere.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::{
    content::{self, Opened, Source},
    link::Link,
    port::{Upload, upload},
};
use crate::{
    Error, FileWriter, Metadata, Parents, Reader,
    wire::{Call, Ending, Found, Incoming},
};

/// Small writes are collected up to this size.
const CHUNK: usize = 256 << 10;

pub(super) async fn read(link: &Arc<Link>, path: &Path, offset: u64) -> Result<(Metadata, Reader), Error> {
    let mut source = File { path: path.to_owned(), start: offset, metadata: None };
    let opened = source.open(link, 0).await?;
    let metadata =
        source.metadata.ok_or_else(|| Error::at("read", path, io::Error::other("nothing is known of it")))?;
    Ok((metadata, content::reader(link.clone(), source, Some(opened))))
}

/// A file's content from `start` on.
struct File {
    path: PathBuf,
    start: u64,
    /// What it was when it was opened.
    metadata: Option<Metadata>,
}

impl Source for File {
    async fn open(&mut self, link: &Arc<Link>, offset: u64) -> Result<Opened, Error> {
        let call = Call::Read { path: self.path.as_path().into(), offset: self.start.saturating_add(offset) };
        let (found, incoming): (Found, _) = link.open(&call).await?;
        let found = Metadata::from(found);
        if *self.metadata.get_or_insert(found) == found {
            Ok(Opened { incoming, progress: None })
        } else {
            let changed = "the connection broke, and the file changed before there was another";
            Err(Error::io(format!("go on reading {}", self.path.display()), io::Error::other(changed)))
        }
    }

    fn time(&self, link: &Link) -> Option<Duration> {
        Some(link.answer_timeout())
    }
}

pub(super) async fn write(link: &Arc<Link>, path: &Path, parents: Parents) -> Result<Box<dyn FileWriter>, Error> {
    let call = Call::Write { path: path.into(), parents };
    let time = link.answer_timeout();
    let ((), upload, incoming) = upload(link, &call, Some(time)).await?;
    Ok(Box::new(RemoteFile { path: path.to_owned(), pending: BytesMut::new(), upload, incoming, time }))
}

/// A file that is being written. Unless it is finished, it is cut off and leaves no trace.
struct RemoteFile {
    path: PathBuf,
    pending: BytesMut,
    upload: Upload,
    incoming: Incoming,
    time: Duration,
}

#[async_trait]
impl FileWriter for RemoteFile {
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let count = bytes.len().min(CHUNK - self.pending.len());
            self.pending.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.pending.len() == CHUNK {
                let full = self.pending.split().freeze();
                self.send(full).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Error> {
        let rest = self.pending.split().freeze();
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        self.upload.finish();
        self.end().await
    }
}

impl RemoteFile {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        match timeout(self.time, self.upload.send(bytes)).await {
            Ok(true) => Ok(()),
            // Nobody takes it any more, and says why.
            Ok(false) => match self.end().await {
                Ok(()) => Err(self.failed(io::ErrorKind::WriteZero.into())),
                Err(error) => Err(error),
            },
            Err(_) => Err(self.late()),
        }
    }

    /// How the other end ended.
    async fn end(&mut self) -> Result<(), Error> {
        match timeout(self.time, self.incoming.next()).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(_))) => {
                Err(self.failed(io::Error::new(io::ErrorKind::InvalidData, "an answer that makes no sense")))
            }
            Ok(Err(Ending::Failed(failure))) => Err(failure.into()),
            Ok(Err(Ending::Cut(cause))) => {
                let cause = format!("the connection broke while {} was written: {cause}", self.path.display());
                Err(Error::Unreachable { cause: io::Error::other(cause) })
            }
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> Error {
        let cause = format!("nothing of {} was taken within {:?}", self.path.display(), self.time);
        Error::Unreachable { cause: io::Error::new(io::ErrorKind::TimedOut, cause) }
    }

    fn failed(&self, cause: io::Error) -> Error {
        Error::at("write", &self.path, cause)
    }
}
