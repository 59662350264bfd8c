//! Why a box cannot be had.

/// Why a box cannot be had. The message is complete and says what to do; it holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine lacks what the backend needs.
    #[error("{backend} is not available: {reason}")]
    Unavailable {
        /// The backend's name.
        backend: &'static str,
        /// What is missing, and how to get it.
        reason: String,
    },
    /// The box cannot be made as it is asked for.
    #[error("{0}")]
    Invalid(String),
    /// There is no such box, or it is not running.
    #[error("there is no box to use: {0}")]
    Gone(String),
    /// Anything else that the engine or the system says.
    #[error("cannot {what}: {cause}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the engine or the system said.
        cause: String,
    },
}

impl Error {
    /// What the engine or the system said while it was asked to do `what`.
    pub(crate) fn failed(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Failed { what: what.into(), cause: cause.to_string() }
    }
}
