//! Errors on the wire (contract: server §2.5, §4.2; agent §2.6).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What kind of failure an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The provider refuses the key.
    Auth,
    /// No money or quota is left.
    Quota,
    /// Too many requests.
    RateLimit,
    /// The request or its settings are wrong.
    Config,
    /// It may work the next time.
    Transient,
    /// The agent did something that does not work.
    AgentAction,
    /// The server failed.
    Internal,
    /// Nobody knows.
    #[default]
    Unknown,
}

/// What a user can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum UserAction {
    /// Nothing.
    #[default]
    None,
    /// Try again.
    Retry,
    /// Look at the settings.
    Settings,
}

/// What kind of failure an error is and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct ErrorClassification {
    /// The kind.
    pub kind: FailureKind,
    /// Whether the same again may work.
    pub retryable: bool,
    /// What a user can do.
    #[serde(default)]
    pub user_action: UserAction,
    /// The id under which the log has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_id: Option<String>,
}

impl ErrorClassification {
    /// A failure of this kind.
    pub const fn new(kind: FailureKind, retryable: bool, user_action: UserAction) -> Self {
        Self { kind, retryable, user_action, error_id: None }
    }

    /// A tool call that failed and that the model may try again.
    pub const fn agent_action() -> Self {
        Self::new(FailureKind::AgentAction, true, UserAction::Retry)
    }

    /// A failure of the server that trying again does not help.
    pub const fn internal() -> Self {
        Self::new(FailureKind::Internal, false, UserAction::None)
    }

    /// What the code of a [`crate::event::ConversationErrorEvent`] means.
    pub fn of_code(code: &str) -> Self {
        use FailureKind::{AgentAction, Auth, Config, Internal, Quota, RateLimit, Transient, Unknown};
        let (kind, retryable, user_action) = match code {
            "LLMAuthenticationError" => (Auth, false, UserAction::Settings),
            "LLMQuotaError" | "MaxBudgetReached" | "BudgetExceeded" => (Quota, false, UserAction::Settings),
            "LLMRateLimitError" => (RateLimit, true, UserAction::Retry),
            "LLMBadRequestError" | "LLMContextWindowTooSmallError" | "NotFoundError" => {
                (Config, false, UserAction::Settings)
            }
            "LLMServiceUnavailableError" | "LLMTimeoutError" | "LLMNoResponseError" | "BadGatewayError" => {
                (Transient, true, UserAction::Retry)
            }
            "LLMContextWindowExceedError"
            | "LLMContentPolicyViolationError"
            | "LLMMalformedConversationHistoryError"
            | "MaxIterationsReached" => (AgentAction, false, UserAction::None),
            "InternalError" | "KeyError" | "TypeError" | "ValueError" => (Internal, false, UserAction::None),
            _ => (Unknown, false, UserAction::None),
        };
        Self::new(kind, retryable, user_action)
    }
}

/// One thing that is wrong with a request, in the form of the official server's 422 answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValidationError {
    /// Which mistake it is: `missing`, `bool_type`, …
    pub r#type: String,
    /// Where: `body`, `path`, `query` or `header`, then field names and indices.
    pub loc: Vec<Value>,
    /// What is wrong and what is expected.
    pub msg: String,
    /// What was there, without secrets.
    #[serde(default)]
    pub input: Value,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Map<String, Value>>,
}

/// Body of an error answer: a sentence, or what is wrong field by field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The sentence, or a list of [`ValidationError`]s.
    pub detail: Value,
    /// The cause of a 5xx answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// The id under which the log has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_id: Option<String>,
}

/// Body of an answer that has nothing else to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Success {
    /// Always true.
    pub success: bool,
}

impl Success {
    /// It worked.
    pub const OK: Self = Self { success: true };
}
