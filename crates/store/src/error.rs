use std::{io, path::PathBuf, sync::Arc};

use longshore_protocol::ConversationId;

use crate::Seq;

/// What can go wrong with stored rows. Each message says what to do; none has a secret in it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The conversation was deleted or never made.
    #[error("there is no conversation {0}")]
    NoSuchConversation(ConversationId),

    /// The log is longer or shorter than the writer believed.
    #[error("conversation {id} ends at event {actual} and not at {expected}: somebody else wrote to it; read it again")]
    Conflict {
        /// The conversation.
        id: ConversationId,
        /// Where the writer believed the log to end.
        expected: Seq,
        /// Where it ends.
        actual: Seq,
    },

    /// An id that must be new is taken.
    #[error("the event id {0:?} is already in use; give every event an id of its own")]
    DuplicateEvent(String),

    /// Something stored cannot be read.
    #[error("{what} is damaged: {cause}; restore it from a backup")]
    Damaged {
        /// The file, or the row.
        what: String,
        /// How that shows.
        cause: String,
    },

    /// There is no space left.
    #[error("the disk that holds {0} is full, so nothing was stored; free some space and try again")]
    Full(PathBuf),

    /// A value is larger than a row may be.
    #[error("the value is larger than {limit} bytes, the most that one row holds; store less at once")]
    TooLarge {
        /// Bytes that a row may have.
        limit: usize,
    },

    /// Another process uses the files.
    #[error(
        "{directory} is in use by another Longshore server (process {holder}); stop that one, or give this one a data \
         directory of its own"
    )]
    InUse {
        /// The folder.
        directory: PathBuf,
        /// The other process, if it said so.
        holder: String,
    },

    /// The rows have a shape that this program does not know.
    #[error(
        "{file} was written by a newer Longshore (schema {found}, this one knows {known}); run that version, or restore \
         a backup from before the upgrade"
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
    },

    /// The file is something else.
    #[error("{file} is not a Longshore database: {cause}; move it away, or give another data directory")]
    Foreign {
        /// The file.
        file: PathBuf,
        /// How that shows.
        cause: String,
    },

    /// Secrets were encrypted under a key that is not there.
    #[error(
        "the secrets in {0} are encrypted under another secret key; start with the key that was in use before, as the \
         secret key or as a previous one"
    )]
    WrongKey(PathBuf),

    /// The store was closed.
    #[error("the store is closed: the server is shutting down")]
    Closed,

    /// The file system refused something.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was tried: `open`, `create`.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The reason.
        cause: Arc<io::Error>,
    },

    /// The database failed in another way.
    #[error("the database failed: {0}")]
    Database(String),
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Io { doing, path, cause: Arc::new(cause) },
        }
    }

    pub(crate) fn damaged(what: impl ToString, cause: impl ToString) -> Self {
        Self::Damaged { what: what.to_string(), cause: cause.to_string() }
    }
}
