//! Why a model did not answer (contract: agent §2.6).

use std::time::Duration;

use longshore_protocol::error::{ErrorClassification, FailureKind, UserAction};

/// What a user reads when the provider refuses the key. The official server has this sentence, whatever the provider said.
pub(crate) const KEY_REFUSED: &str = "Your LLM API key appears to be invalid or has expired.";

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// A sentence for the user: what failed and what to do. It holds no key.
    pub detail: String,
    /// How long the provider asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// The kinds of failure, by what one can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The provider refuses the key, or there is none.
    Authentication,
    /// The provider refuses the request, or the configuration is wrong.
    BadRequest,
    /// The provider refuses to talk about this.
    ContentPolicy,
    /// The conversation is longer than the model can read.
    ContextWindow,
    /// The provider does not accept how calls and results follow each other.
    MalformedHistory,
    /// The provider has no such model or address.
    NotFound,
    /// The provider answered without an answer.
    NoResponse,
    /// No money or quota is left; waiting does not help.
    Quota,
    /// Too many requests for now.
    RateLimit,
    /// The provider fails or cannot be reached.
    Unavailable,
    /// The provider took too long.
    Timeout,
}

impl Error {
    /// An error of this kind. The caller keeps keys out of `detail`.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, detail)
    }

    /// The name under which clients know the failure.
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// What kind of failure it is for a client and what a user can do.
    pub fn classification(&self) -> ErrorClassification {
        match self.kind {
            // Both are cured by a shorter conversation, which the agent makes when it runs again.
            ErrorKind::ContextWindow | ErrorKind::MalformedHistory => {
                ErrorClassification::new(FailureKind::AgentAction, true, UserAction::Retry)
            }
            _ => ErrorClassification::of_code(self.code()),
        }
    }

    /// Whether a provider may want money for the attempt although nothing came of it: it had the whole request and was at
    /// work.
    pub const fn may_be_billed(&self) -> bool {
        matches!(self.kind, ErrorKind::NoResponse | ErrorKind::Timeout)
    }

    /// Whether the same request may succeed a little later.
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::NoResponse | ErrorKind::RateLimit | ErrorKind::Unavailable | ErrorKind::Timeout)
    }
}

impl ErrorKind {
    /// The name under which clients know the failure.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Authentication => "LLMAuthenticationError",
            Self::BadRequest => "LLMBadRequestError",
            Self::ContentPolicy => "LLMContentPolicyViolationError",
            Self::ContextWindow => "LLMContextWindowExceedError",
            Self::MalformedHistory => "LLMMalformedConversationHistoryError",
            Self::NotFound => "NotFoundError",
            Self::NoResponse => "LLMNoResponseError",
            Self::Quota => "LLMQuotaError",
            Self::RateLimit => "LLMRateLimitError",
            Self::Unavailable => "LLMServiceUnavailableError",
            Self::Timeout => "LLMTimeoutError",
        }
    }
}
