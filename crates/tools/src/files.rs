//! Whole files of a workspace, in memory.

use std::path::Path;

use longshore_workspace::{Error, Parents, Workspace};
use tokio::io::AsyncReadExt;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is larger than the caller can use.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The workspace says no.
    #[error(transparent)]
    Workspace(#[from] Error),
    /// Reading broke off.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A file of at most `limit` bytes.
pub(crate) async fn read(workspace: &dyn Workspace, path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (metadata, reader) = workspace.read(path, 0).await?;
    if metadata.len > limit {
        return Err(ReadError::TooLarge { limit });
    }
    // The length is a hint: a file can grow while it is read, and special files say 0.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len).unwrap_or(0));
    reader.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLarge { limit }) } else { Ok(bytes) }
}

/// As [`read`]; `None` if there is no such file.
pub(crate) async fn read_if_there(
    workspace: &dyn Workspace,
    path: &Path,
    limit: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    match read(workspace, path, limit).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Workspace(Error::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file at once, and the folders it is in.
pub(crate) async fn write(workspace: &dyn Workspace, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut writer = workspace.write(path, Parents::Created).await?;
    writer.write(bytes).await?;
    writer.finish().await
}
