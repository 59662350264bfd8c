//! Why a workspace cannot do what it is asked.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a workspace cannot do what it is asked. The message is complete: it names the path and holds the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file, folder or program.
    #[error("No such file or directory: {}", path.display())]
    NotFound {
        /// What was looked for.
        path: PathBuf,
    },
    /// A file is wanted and a folder is there.
    #[error("is a directory, not a file: {}", path.display())]
    IsADirectory {
        /// The folder.
        path: PathBuf,
    },
    /// A folder is wanted and something else is there, at the path or above it.
    #[error("not a directory: {}", path.display())]
    NotADirectory {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// A file is wanted and a pipe, socket or device is there; reading one could wait forever.
    #[error("not a regular file but a pipe, socket or device: {}", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The system does not allow it.
    #[error("permission denied: {}", path.display())]
    PermissionDenied {
        /// What it is about.
        path: PathBuf,
    },
    /// Something is in the way.
    #[error("already exists: {}", path.display())]
    AlreadyExists {
        /// What is there.
        path: PathBuf,
    },
    /// There is more than is allowed.
    #[error("more than {limit} entries in {}", path.display())]
    TooManyEntries {
        /// The folder.
        path: PathBuf,
        /// What is allowed.
        limit: usize,
    },
    /// Something that was asked for makes no sense.
    #[error("{what} makes no sense: {reason}")]
    Invalid {
        /// What it is.
        what: String,
        /// Why, and where.
        reason: String,
    },
    /// The place is elsewhere and does not answer.
    #[error("the place cannot be reached: {cause}")]
    Unreachable {
        /// What stands between.
        cause: io::Error,
    },
    /// Anything else that the system says.
    #[error("cannot {what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl Error {
    /// What the system said about `path` while it was asked to `verb` it.
    pub(crate) fn at(verb: &str, path: &Path, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let owned = || path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path: owned() },
            io::ErrorKind::IsADirectory => Self::IsADirectory { path: owned() },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path: owned() },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path: owned() },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path: owned() },
            _ => Self::Io { what: format!("{verb} {}", path.display()), cause },
        }
    }

    /// What the system said while it was asked to do `what`, which is not about a path.
    pub(crate) fn io(what: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), cause: cause.into() }
    }
}
