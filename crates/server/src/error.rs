//! Errors as clients see them (contract: server §2.5).

use std::fmt;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use longshore_protocol::error::{ErrorBody, ValidationError};
use serde_json::Value;
use uuid::Uuid;

/// An answer that says what went wrong.
#[derive(Clone)]
pub struct ApiError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    detail: Value,
    error_id: Option<String>,
    close: bool,
    /// Seconds after which the same request may be granted.
    retry_after: Option<u64>,
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ApiError {
    /// An answer with this status, and a sentence that says what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            detail: Value::String(detail.into()),
            error_id: None,
            close: false,
            retry_after: None,
        }))
    }

    /// The request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Nobody knows who asks.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    /// Who asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The request contradicts the state of things.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// Something is wrong with what was sent; the sentence says what.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Fields of the request are wrong.
    pub fn invalid(problems: Vec<ValidationError>) -> Self {
        let detail = serde_json::to_value(problems).unwrap_or(Value::Null);
        Self(Box::new(Inner {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail,
            error_id: None,
            close: false,
            retry_after: None,
        }))
    }

    /// The server failed. The client gets `doing` and an id; the log gets the cause under that id.
    pub fn internal(doing: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        tracing::error!(error = cause, error.id = id, "{doing}");
        Self::failed(doing, id)
    }

    /// The server failed, and the log already has the cause under `error_id`.
    pub(crate) fn failed(doing: &str, error_id: String) -> Self {
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, doing);
        error.0.error_id = Some(error_id);
        error
    }

    /// Ends the connection after the answer, because not all of the request was read.
    #[must_use]
    pub(crate) fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// Tells the client after how many seconds the same request may be granted; 1 at least.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds.max(1));
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The sentence of the answer, for places that have no status.
    pub(crate) fn detail(&self) -> String {
        match &self.0.detail {
            _ if self.0.status.is_server_error() => "Internal Server Error".to_owned(),
            Value::String(sentence) => sentence.clone(),
            problems => problems.to_string(),
        }
    }

    fn body(self) -> ErrorBody {
        let Inner { status, detail, error_id, .. } = *self.0;
        if !status.is_server_error() {
            return ErrorBody { detail, exception: None, error_id };
        }
        let cause = detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
        ErrorBody {
            detail: Value::from("Internal Server Error"),
            exception: Some(format!("{}: {cause}", status.as_u16())),
            error_id,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, close, retry_after) = (self.0.status, self.0.close, self.0.retry_after);
        let text = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<longshore_store::Error> for ApiError {
    fn from(error: longshore_store::Error) -> Self {
        use longshore_store::Error as Store;
        match error {
            Store::NoSuchConversation(id) => Self::not_found(format!("Conversation not found: {id}")),
            Store::Conflict { .. } => Self::conflict(error.to_string()),
            Store::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            Store::Full(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store is full");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "The server's disk is full; nothing was stored.")
            }
            Store::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server is stopping."),
            _ => Self::internal("The store failed", &error),
        }
    }
}
