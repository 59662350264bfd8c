//! Queries and path parameters.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use longshore_protocol::{error::ValidationError, secret::redact};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::pairs::{PairError, Pairs};
use crate::{ApiError, state::AppState};

/// A query. Repeated names make a list.
pub(crate) struct ApiQuery<T>(pub(crate) T);

/// Path parameters: one value, a tuple, or a struct by name.
pub(crate) struct ApiPath<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let pairs = Pairs::new(decode(parts.uri.query().unwrap_or_default()));
        T::deserialize(pairs).map(Self).map_err(|error| ApiError::invalid(vec![problem("query", error)]))
    }
}

impl<T: DeserializeOwned> FromRequestParts<AppState> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters = parameters.map_err(|_| ApiError::not_found("Not Found"))?;
        let pairs = Pairs::new(parameters.iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
        let single = pairs.single();
        T::deserialize(pairs).map(Self).map_err(|error| {
            // A type that judges its text itself does not know the parameter's name.
            let error = match single {
                Some((name, texts)) => error.at(&name, &texts),
                None => error,
            };
            ApiError::invalid(vec![problem("path", error)])
        })
    }
}

/// A path that a client named: any bytes but NUL.
#[derive(Debug, Clone)]
pub(crate) struct RawPath(pub(crate) PathBuf);

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path")
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        if bytes.contains(&0) {
            return Err(de::Error::custom("a path cannot have a NUL in it"));
        }
        Ok(Self(OsString::from_vec(bytes).into()))
    }
}

impl PartialSchema for RawPath {
    fn schema() -> RefOr<Schema> {
        // Relative paths are refused by name, not by form; the pattern tells clients beforehand.
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^/")).build().into()
    }
}

impl ToSchema for RawPath {}

fn problem(place: &str, error: PairError) -> ValidationError {
    let mut loc = vec![Value::from(place)];
    let input = error.at.map_or(Value::Null, |at| {
        let (name, input) = *at;
        let shown = redact(&Value::from_iter([(name.clone(), input)]));
        loc.push(name.clone().into());
        shown.get(&name).cloned().unwrap_or_default()
    });
    error.problem.at(loc, input)
}

/// The pairs of a query string.
fn decode(query: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (String::from_utf8_lossy(&unescape(name)).into_owned(), unescape(value))
    })
}

/// `+` is a space and `%41` a byte. An escape that is none is kept as it is.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        let escaped = rest.as_slice().first_chunk::<2>().and_then(|digits| from_hex(*digits)).filter(|_| byte == b'%');
        match escaped {
            Some(byte) => {
                result.push(byte);
                rest.nth(1);
            }
            None if byte == b'+' => result.push(b' '),
            None => result.push(byte),
        }
    }
    result
}

fn from_hex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "UPPERCASE")]
    enum Order {
        Up,
        Down,
    }

    #[derive(Debug, Deserialize)]
    struct Query {
        path: RawPath,
        #[serde(default)]
        limit: Option<i64>,
        #[serde(default)]
        hidden: bool,
        #[serde(default)]
        ids: Vec<uuid::Uuid>,
        #[serde(default)]
        order: Option<Order>,
    }

    fn read(query: &str) -> Result<Query, Value> {
        Query::deserialize(Pairs::new(decode(query))).map_err(|error| json!(problem("query", error)))
    }

    #[test]
    fn queries_have_types_lists_and_any_bytes() {
        let id = "99999999-2222-3333-4444-555555555555";
        let query =
            read(&format!("path=/a+b%20%ff%C3%A9%zz&limit=3&hidden=1&ids={id}&ids={id}&order=DOWN&other=x")).unwrap();
        assert_eq!(query.path.0.as_os_str().as_encoded_bytes(), b"/a b \xff\xc3\xa9%zz");
        assert_eq!((query.limit, query.hidden, query.ids.len(), query.order), (Some(3), true, 2, Some(Order::Down)));
    }

    #[test]
    fn mistakes_name_the_parameter() {
        for (query, kind, loc, input) in [
            ("", "missing", "path", Value::Null),
            ("path=/&limit=x", "int_parsing", "limit", "x".into()),
            ("path=/&hidden=maybe", "bool_parsing", "hidden", "maybe".into()),
            ("path=/&ids=xx", "uuid_parsing", "ids", "xx".into()),
            ("path=/&order=LEFT", "literal_error", "order", "LEFT".into()),
            ("path=%00", "value_error", "path", "\0".into()),
        ] {
            let problem = read(query).unwrap_err();
            assert_eq!(problem["type"], kind, "{query}");
            assert_eq!(problem["loc"], json!(["query", loc]), "{query}");
            assert_eq!(problem["input"], input, "{query}");
        }
    }
}
