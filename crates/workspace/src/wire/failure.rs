//! Errors on the wire.

use std::io;

use serde::{Deserialize, Serialize};

use super::Os;
use crate::Error;

/// Kinds of errors that have no number of the system's but still a meaning.
const KINDS: [(&str, io::ErrorKind); 12] = [
    ("not_found", io::ErrorKind::NotFound),
    ("permission_denied", io::ErrorKind::PermissionDenied),
    ("already_exists", io::ErrorKind::AlreadyExists),
    ("invalid_input", io::ErrorKind::InvalidInput),
    ("invalid_data", io::ErrorKind::InvalidData),
    ("timed_out", io::ErrorKind::TimedOut),
    ("broken_pipe", io::ErrorKind::BrokenPipe),
    ("write_zero", io::ErrorKind::WriteZero),
    ("unexpected_eof", io::ErrorKind::UnexpectedEof),
    ("storage_full", io::ErrorKind::StorageFull),
    ("quota_exceeded", io::ErrorKind::QuotaExceeded),
    ("read_only_filesystem", io::ErrorKind::ReadOnlyFilesystem),
];

/// Why something was not done: what gives the same [`Error`], with the same message, at the other end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    NotFound {
        path: Os,
    },
    IsADirectory {
        path: Os,
    },
    NotADirectory {
        path: Os,
    },
    NotAFile {
        path: Os,
    },
    PermissionDenied {
        path: Os,
    },
    AlreadyExists {
        path: Os,
    },
    TooManyEntries {
        path: Os,
        limit: usize,
    },
    Invalid {
        what: String,
        reason: String,
    },
    Io {
        what: String,
        cause: Cause,
    },
    /// There is no process with this id.
    UnknownProcess,
    /// Output from before `kept` is gone: the process wrote on while nobody was there to read it.
    Lost {
        kept: u64,
    },
}

/// What the system said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// A number of the system's.
    Errno(i32),
    /// One of [`KINDS`], or another, and a message.
    Other { kind: String, message: String },
}

impl Failure {
    /// What the system said while it was asked to do `what`.
    pub(crate) fn io(what: impl Into<String>, cause: &io::Error) -> Self {
        Self::Io { what: what.into(), cause: cause.into() }
    }

    /// A refusal in words.
    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Io { what: what.into(), cause: Cause::Other { kind: "other".into(), message: why.into() } }
    }

    /// The same as an error of a stream of bytes.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io { cause, .. } => cause.into(),
            other => io::Error::other(Error::from(other)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { path } => Self::NotFound { path: path.into() },
            Error::IsADirectory { path } => Self::IsADirectory { path: path.into() },
            Error::NotADirectory { path } => Self::NotADirectory { path: path.into() },
            Error::NotAFile { path } => Self::NotAFile { path: path.into() },
            Error::PermissionDenied { path } => Self::PermissionDenied { path: path.into() },
            Error::AlreadyExists { path } => Self::AlreadyExists { path: path.into() },
            Error::TooManyEntries { path, limit } => Self::TooManyEntries { path: path.into(), limit },
            Error::Invalid { what, reason } => Self::Invalid { what, reason },
            Error::Io { what, cause } => Self::io(what, &cause),
            Error::Unreachable { cause } => Self::io("reach the place", &cause),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound { path } => Self::NotFound { path: path.into() },
            Failure::IsADirectory { path } => Self::IsADirectory { path: path.into() },
            Failure::NotADirectory { path } => Self::NotADirectory { path: path.into() },
            Failure::NotAFile { path } => Self::NotAFile { path: path.into() },
            Failure::PermissionDenied { path } => Self::PermissionDenied { path: path.into() },
            Failure::AlreadyExists { path } => Self::AlreadyExists { path: path.into() },
            Failure::TooManyEntries { path, limit } => Self::TooManyEntries { path: path.into(), limit },
            Failure::Invalid { what, reason } => Self::Invalid { what, reason },
            Failure::Io { what, cause } => Self::Io { what, cause: cause.into() },
            Failure::UnknownProcess => Self::io(
                "use a process",
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "it is gone: the place started anew, or could not be reached for too long",
                ),
            ),
            Failure::Lost { kept } => Self::io(
                "read a process's output",
                io::Error::other(format!(
                    "what is before byte {kept} is lost: it was written while the place could not be reached"
                )),
            ),
        }
    }
}

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        if let Some(errno) = error.raw_os_error() {
            return Self::Errno(errno);
        }
        let known = KINDS.iter().find(|(_, kind)| *kind == error.kind());
        Self::Other { kind: known.map_or("other", |(name, _)| name).into(), message: error.to_string() }
    }
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Errno(errno) => Self::from_raw_os_error(errno),
            Cause::Other { kind, message } => {
                let known = KINDS.iter().find(|(name, _)| *name == kind);
                Self::new(known.map_or(io::ErrorKind::Other, |(_, kind)| *kind), message)
            }
        }
    }
}
