//! What a provider's refusal means (contract: agent §2.6).

use std::time::Duration;

use longshore_outbound::StatusCode;
use serde_json::Value;

use crate::{Error, ErrorKind, error::KEY_REFUSED, mask::Mask};

/// The most characters of a provider's words that a user reads.
const SHOWN: usize = 1000;

/// A refusal as it came.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    /// Absent if the refusal stands in an answer that otherwise succeeded.
    pub(crate) status: Option<StatusCode>,
    /// The body.
    pub(crate) body: &'a str,
    /// How long the provider asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal<'_> {
    /// What it means for the user of `host`.
    pub(crate) fn meaning(&self, host: &str, mask: &Mask) -> Error {
        let parsed: Value = serde_json::from_str(self.body).unwrap_or(Value::Null);
        let status = self.status.or_else(|| status_in(&parsed));
        let kind = kind(status, &self.body.to_lowercase());
        let message = mask.hide(&message(&parsed, self.body)).into_owned();
        tracing::debug!(
            code = kind.code(),
            status = status.map(|status| status.as_u16()),
            "the model provider refused"
        );
        let answered = status.map_or_else(|| "with an error".to_owned(), |status| status.as_u16().to_string());
        let hint = match kind {
            ErrorKind::NotFound => " Check the model's name and base_url (most addresses end in /v1).",
            _ => "",
        };
        let detail = match kind {
            ErrorKind::Authentication => KEY_REFUSED.to_owned(),
            _ => format!("{host} answered {answered}: {message}{hint}"),
        };
        Error { retry_after: self.retry_after, ..Error::new(kind, detail) }
    }
}

/// The status that some gateways write into the body of an answer with status 200.
fn status_in(body: &Value) -> Option<StatusCode> {
    let code = &body["error"]["code"];
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    StatusCode::from_u16(u16::try_from(number).ok()?).ok().filter(|status| status.as_u16() >= 400)
}

/// The provider's sentence, wherever it stands.
fn message(parsed: &Value, body: &str) -> String {
    let error = &parsed["error"];
    let places = [&error["message"], error, &parsed["message"], &parsed["detail"], &parsed["error_description"]];
    let found = places.into_iter().find_map(|place| place.as_str().filter(|text| !text.trim().is_empty()));
    let text = match found {
        Some(text) => text,
        None if body.trim().is_empty() => "no explanation",
        None if body.trim_start().starts_with('<') => "a web page instead of an error message",
        None => body,
    };
    let mut message: String = text.trim().chars().take(SHOWN).collect();
    if text.trim().chars().nth(SHOWN).is_some() {
        message.push('…');
    }
    message
}

const CONTEXT: [&str; 11] = [
    "context_length_exceeded",
    "contextwindowexceedederror",
    "maximum context length",
    "prompt is too long",
    "input length and `max_tokens` exceed context limit",
    "please reduce the length of",
    "exceeds the available context size",
    "context length exceeded",
    "input exceeds the context window",
    "context window exceeds limit",
    "exceeds the maximum number of tokens",
];

const HISTORY: [&str; 8] = [
    "`tool_use` ids were found without `tool_result` blocks",
    "tool_use ids were found without `tool_result` blocks",
    "each `tool_use` block must have a corresponding `tool_result` block",
    "each tool_use must have a single result",
    "found multiple `tool_result` blocks with id",
    "unexpected `tool_use_id` found in `tool_result` blocks",
    "must be followed by tool messages responding to each 'tool_call_id'",
    "failed to parse tool call arguments as json",
];

const ORPHANED_RESULT: [&str; 2] = [
    "each `tool_result` block must have a corresponding `tool_use` block",
    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'",
];

const KEY: [&str; 10] = [
    "invalid api key",
    "invalid_api_key",
    "incorrect api key",
    "api key not valid",
    "unauthorized",
    "missing api key",
    "invalid authentication",
    "access denied",
    "status 401",
    "status 403",
];

const QUOTA: [&str; 10] = [
    "insufficient_quota",
    "usage_limit_reached",
    "budget_exceeded",
    "budget has been exceeded",
    "exceeded your current quota",
    "insufficient balance",
    "insufficient credits",
    "more credits",
    "billing_hard_limit_reached",
    "credit balance is too low",
];

const POLICY: [&str; 4] =
    ["content_policy", "content filtering policy", "output blocked by content filtering", "flagged by moderation"];

/// The kind of a refusal: what can be cured goes before what cannot.
fn kind(status: Option<StatusCode>, text: &str) -> ErrorKind {
    let code = status.map_or(0, |status| status.as_u16());
    let says = |patterns: &[&str]| patterns.iter().any(|pattern| text.contains(pattern));
    // A gateway passes the words of its provider on under any status, so words count except where the status is clear.
    let is_open = matches!(code, 0 | 400 | 413 | 422 | 500..);
    match code {
        _ if is_open && says(&CONTEXT) => ErrorKind::ContextWindow,
        _ if is_open && (says(&HISTORY) || says(&ORPHANED_RESULT)) => ErrorKind::MalformedHistory,
        0 | 400 | 402 | 403 | 429 if says(&QUOTA) => ErrorKind::Quota,
        402 => ErrorKind::Quota,
        400 | 403 | 0 if says(&POLICY) => ErrorKind::ContentPolicy,
        401 | 403 => ErrorKind::Authentication,
        0 | 400 if says(&KEY) => ErrorKind::Authentication,
        429 => ErrorKind::RateLimit,
        0 if says(&["rate limit", "rate_limit"]) => ErrorKind::RateLimit,
        408 | 504 => ErrorKind::Timeout,
        409 | 425 | 500.. => ErrorKind::Unavailable,
        404 => ErrorKind::NotFound,
        0 if says(&["overloaded", "server_error", "unavailable", "internal error"]) => ErrorKind::Unavailable,
        _ => ErrorKind::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> Error {
        let status = (status > 0).then(|| StatusCode::from_u16(status).unwrap());
        Refusal { status, body, retry_after: None }.meaning("api.example", &Mask::default())
    }

    #[test]
    fn statuses_and_words_mean_kinds() {
        use ErrorKind::*;
        let error = |message: &str| format!("{{\"error\":{{\"message\":{message:?}}}}}");
        let cases = [
            (401, error("whatever"), Authentication),
            (403, error("nope"), Authentication),
            (400, error("API key not valid"), Authentication),
            (429, error("Rate limit reached"), RateLimit),
            (429, "{\"error\":{\"message\":\"x\",\"code\":\"insufficient_quota\"}}".to_owned(), Quota),
            (429, error("the usage_limit_reached"), Quota),
            (402, error("pay"), Quota),
            (400, error("Budget has been exceeded! Current cost: 2"), Quota),
            (408, String::new(), Timeout),
            (504, String::new(), Timeout),
            (500, String::new(), Unavailable),
            (502, "<html>".to_owned(), Unavailable),
            (503, String::new(), Unavailable),
            (529, error("Overloaded"), Unavailable),
            (409, String::new(), Unavailable),
            (404, error("no such model"), NotFound),
            (400, error("bad param"), BadRequest),
            (422, error("bad param"), BadRequest),
            (400, "{\"error\":{\"message\":\"m\",\"code\":\"context_length_exceeded\"}}".to_owned(), ContextWindow),
            (400, error("prompt is too long: 210000 tokens > 200000 maximum"), ContextWindow),
            (500, error("litellm.ContextWindowExceededError: x"), ContextWindow),
            (413, error("Please reduce the length of the messages"), ContextWindow),
            (429, error("Please reduce the length of the messages"), RateLimit),
            (
                400,
                error(
                    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.",
                ),
                MalformedHistory,
            ),
            (
                400,
                error("messages.2: `tool_use` ids were found without `tool_result` blocks immediately after"),
                MalformedHistory,
            ),
            (400, "{\"error\":{\"message\":\"m\",\"code\":\"content_policy_violation\"}}".to_owned(), ContentPolicy),
            (403, error("your input was flagged by moderation"), ContentPolicy),
            (0, "{\"error\":{\"message\":\"m\",\"code\":429}}".to_owned(), RateLimit),
            (0, "{\"error\":{\"message\":\"m\",\"code\":\"502\"}}".to_owned(), Unavailable),
            (0, error("Overloaded"), Unavailable),
            (0, error("something"), BadRequest),
        ];
        for (status, body, kind) in cases {
            assert_eq!(meaning(status, &body).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn the_providers_sentence_is_found() {
        for (body, message) in [
            ("{\"error\":{\"message\":\"bad param\"}}", "bad param"),
            ("{\"error\":\"bad param\"}", "bad param"),
            ("{\"message\":\"bad param\"}", "bad param"),
            ("{\"detail\":\"bad param\"}", "bad param"),
            ("bad param\n", "bad param"),
            ("", "no explanation"),
            ("<html><h1>Oops</h1>", "a web page instead of an error message"),
        ] {
            assert_eq!(meaning(400, body).detail, format!("api.example answered 400: {message}"));
        }
        assert_eq!(
            meaning(400, &"x".repeat(5000)).detail.chars().count(),
            "api.example answered 400: ".len() + SHOWN + 1
        );
    }

    #[test]
    fn a_refused_key_has_the_official_sentence() {
        assert_eq!(meaning(401, "sk-abcdefghijkl").detail, KEY_REFUSED);
    }
}
