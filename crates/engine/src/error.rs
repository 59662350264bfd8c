//! Why a wish could not be granted.

/// Why a wish could not be granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such conversation, or it belongs to somebody else.
    #[error("Conversation not found: {0}")]
    NotFound(longshore_protocol::ConversationId),
    /// There is a run already.
    #[error("Conversation already running. Wait for completion or pause first.")]
    AlreadyRunning,
    /// As many conversations run and wait as may.
    #[error("Conversation run limit reached. Retry the request later.")]
    AtCapacity,
    /// The message is stored, but as many conversations run and wait as may.
    #[error(
        "Message saved, but the conversation run limit was reached. Retry POST /api/conversations/{0}/run without \
         resending the message."
    )]
    SavedAtCapacity(longshore_protocol::ConversationId),
    /// A field of the wish makes no sense.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// Another user has a conversation with this id.
    #[error("conversation id {0} is taken: choose another one, or leave it out")]
    IdTaken(longshore_protocol::ConversationId),
    /// The server is stopping.
    #[error("the server is stopping: retry in a moment")]
    Stopping,
    /// The conversation's workspace cannot be used.
    #[error("the conversation's workspace cannot be used")]
    Workspace(#[from] longshore_workspace::Error),
    /// What is stored could not be read or written.
    #[error("what is stored could not be read or written")]
    Store(#[from] longshore_store::Error),
    /// A stored event has a form that this version cannot read.
    #[error("event {seq} of conversation {id} is damaged")]
    DamagedEvent {
        /// The conversation.
        id: longshore_protocol::ConversationId,
        /// The event's position.
        seq: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}
