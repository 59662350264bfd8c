//! Bodies. They are JSON whatever their content type says: clients send the wrong one.

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{StatusCode, header::CONTENT_LENGTH},
};
use longshore_protocol::{error::ValidationError, secret::redact};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use super::{Problem, shape};
use crate::{ApiError, protect::TooSlow, state::AppState};

/// Whole numbers with a fraction that are taken in one body.
const MAX_FRACTIONS: usize = 16;

/// The largest float that is one whole number only.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A body that must be there.
pub(crate) struct ApiJson<T>(pub(crate) T);

/// A body that may be absent or empty: both mean the default.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Self::Rejection> {
        let body = read(request, state.options().limits.body_bytes).await?;
        if body.is_empty() {
            let problem = Problem::new("missing", "Field required").at(vec!["body".into()], Value::Null);
            return Err(ApiError::invalid(vec![problem]));
        }
        parse(&body).map(Self).map_err(|problem| ApiError::invalid(vec![*problem]))
    }
}

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Self::Rejection> {
        let body = read(request, state.options().limits.body_bytes).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&body).map(Self).map_err(|problem| ApiError::invalid(vec![*problem]))
    }
}

async fn read(request: Request, limit: u64) -> Result<Bytes, ApiError> {
    let too_large = || {
        let detail = format!("The body is larger than {limit} bytes, the most that this server takes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail).closing()
    };
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let read = to_bytes(request.into_body(), usize::try_from(limit).unwrap_or(usize::MAX)).await;
    read.map_err(|error| {
        if let Some(slow) = TooSlow::behind(&error) {
            return ApiError::new(StatusCode::REQUEST_TIMEOUT, slow.to_string()).closing();
        }
        let source = std::error::Error::source(&error);
        // What is not the limit is the connection.
        if source.is_some_and(|source| source.to_string().contains("length limit")) {
            too_large()
        } else {
            ApiError::bad_request("The connection broke while the body was read").closing()
        }
    })
}

/// Reads a JSON text. The problem shows what was there without secrets.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Box<ValidationError>> {
    if text.trim_ascii_start().first() == Some(&b'[') && shape::is_struct::<T>() && is_json(text) {
        let sentence = "Input should be a valid dictionary or object to extract fields from";
        return Err(Problem::new("model_attributes_type", sentence).at(vec!["body".into()], json!([])).into());
    }
    // The path to a mistake costs time, so it is only looked for once there is one.
    serde_json::from_slice(text).or_else(|error| reconsider(text, &error))
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Says what is wrong with a JSON text; or takes it after all, if it only writes whole numbers with a fraction of zero.
fn reconsider<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> Result<T, Box<ValidationError>> {
    let mut document: Value = serde_json::from_slice(text).map_err(|error| not_json(text, &error))?;
    let mut is_changed = false;
    for _ in 0..=MAX_FRACTIONS {
        match serde_path_to_error::deserialize::<_, T>(&document) {
            Ok(value) if is_changed => return Ok(value),
            // A document forgets what its text has twice.
            Ok(_) => break,
            Err(error) => match at(&mut document, error.path()).and_then(|found| Some((whole(found)?, found))) {
                Some((whole, found)) => *found = whole,
                None => return Err(explain(&document, &error).into()),
            },
        }
        is_changed = true;
    }
    Err(Problem::of_message(&error.to_string()).at(vec!["body".into()], json!({})).into())
}

/// The whole number that a number with a fraction of zero is.
fn whole(value: &Value) -> Option<Value> {
    let number = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0)?;
    // Beyond this, a float does not tell neighbours apart.
    (number.abs() <= MAX_WHOLE).then(|| format!("{number:.0}").parse::<i64>().ok().map(Value::from))?
}

fn at<'a>(document: &'a mut Value, path: &serde_path_to_error::Path) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, segment| match segment {
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Map { key } => value.get_mut(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}

fn explain(document: &Value, error: &serde_path_to_error::Error<serde_json::Error>) -> ValidationError {
    let redacted = redact(document);
    let mut loc = vec![Value::from("body")];
    let mut input = Some(&redacted);
    for segment in error.path() {
        let step = match segment {
            Segment::Seq { index } => Value::from(*index),
            Segment::Map { key } => Value::from(key.as_str()),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        input = child(input, &step);
        loc.push(step);
    }
    let mut problem = Problem::of_message(&error.inner().to_string());
    problem.text = without_secrets(problem.text, document, &redacted);
    if problem.kind == "extra_forbidden" {
        input = problem.field.as_deref().and_then(|field| child(input, &field.into()));
    }
    problem.context = problem.context.map(|context| match context.get("error").and_then(Value::as_str) {
        Some(text) => json!({"error": without_secrets(text.to_owned(), document, &redacted)}),
        None => context,
    });
    problem.at(loc, input.cloned().unwrap_or(Value::Null))
}

fn child<'a>(value: Option<&'a Value>, step: &Value) -> Option<&'a Value> {
    match step {
        Value::String(key) => value?.get(key),
        index => value?.get(usize::try_from(index.as_u64()?).ok()?),
    }
}

fn not_json(text: &[u8], error: &serde_json::Error) -> ValidationError {
    let lines = text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let offset = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    Problem::new("json_invalid", "JSON decode error")
        .with(json!({"error": message}))
        .at(vec!["body".into(), offset.into()], json!({}))
}

/// `text` with every secret of `document` replaced: messages of nested values can quote them.
fn without_secrets(mut text: String, document: &Value, redacted: &Value) -> String {
    match (document, redacted) {
        (Value::String(secret), Value::String(shown)) if secret != shown && !secret.is_empty() => {
            text = text.replace(secret.as_str(), shown);
        }
        (Value::Array(items), Value::Array(shown)) => {
            for (item, shown) in items.iter().zip(shown) {
                text = without_secrets(text, item, shown);
            }
        }
        (Value::Object(fields), Value::Object(shown)) => {
            for (field, shown) in fields.values().zip(shown.values()) {
                text = without_secrets(text, field, shown);
            }
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use longshore_protocol::{agent::SecretSource, bash::ExecuteBash};
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::parse;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read by serde")]
    struct WithSecrets {
        secrets: std::collections::BTreeMap<String, SecretSource>,
    }

    fn problem<T: serde::de::DeserializeOwned>(text: &str) -> Value {
        json!(parse::<T>(text.as_bytes()).err().unwrap())
    }

    #[test]
    fn mistakes_are_told_as_the_official_server_tells_them() {
        assert_eq!(
            problem::<ExecuteBash>("{}"),
            json!({"type": "missing", "loc": ["body", "command"], "msg": "Field required", "input": {}})
        );
        assert_eq!(
            problem::<ExecuteBash>(r#"{"command": "true", "timeout": 2.5}"#),
            json!({
                "type": "int_from_float", "loc": ["body", "timeout"], "input": 2.5,
                "msg": "Input should be a valid integer, got a number with a fractional part",
            })
        );
        let broken = problem::<ExecuteBash>("{bad");
        assert_eq!(
            (&broken["type"], &broken["loc"], &broken["input"]),
            (&json!("json_invalid"), &json!(["body", 1]), &json!({}))
        );
    }

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zero() {
        let request = parse::<ExecuteBash>(br#"{"command": "true", "timeout": 2.0}"#).unwrap();
        assert_eq!(request.timeout, 2);
        for timeout in ["2.5", "-2.0", "1e300", "\"2.0\"", "[2.0]"] {
            problem::<ExecuteBash>(&format!(r#"{{"command": "true", "timeout": {timeout}}}"#));
        }
        // What may have a fraction keeps it.
        assert_eq!(parse::<Value>(b"[1.0]").unwrap(), json!([1.0]));
    }

    #[test]
    fn a_plain_secret_does_not_come_back() {
        let text = json!({"secrets": {"NAME": "s3cr3t-value"}}).to_string();
        let problem = problem::<WithSecrets>(&text);
        assert!(!problem.to_string().contains("s3cr3t"), "{problem}");
    }
}
