//! Answers.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use longshore_protocol::nulls;
use serde::Serialize;

use crate::ApiError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer without null fields.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON answer with null fields.
pub(crate) struct JsonWithNulls<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        answer(serde_json::to_vec(&self.0))
    }
}

impl<T: Serialize> IntoResponse for JsonWithNulls<T> {
    fn into_response(self) -> Response {
        answer(nulls::to_vec(&self.0))
    }
}

fn answer(text: serde_json::Result<Vec<u8>>) -> Response {
    match text {
        Ok(text) => ([(CONTENT_TYPE, JSON)], Body::from(text)).into_response(),
        Err(error) => ApiError::internal("the answer cannot be written as JSON", &error).into_response(),
    }
}

/// A JSON answer that is already text.
pub(crate) struct JsonText(pub(crate) Bytes);

impl JsonText {
    /// A list of JSON texts.
    pub(crate) fn list<'a>(items: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut text = Vec::new();
        write_list(&mut text, items);
        Self(text.into())
    }

    /// A page of JSON texts, with the id of the next page.
    pub(crate) fn page<'a>(items: impl Iterator<Item = &'a [u8]>, next: Option<&str>) -> Self {
        let mut text = b"{\"items\":".to_vec();
        write_list(&mut text, items);
        text.extend_from_slice(b",\"next_page_id\":");
        text.extend_from_slice(serde_json::json!(next).to_string().as_bytes());
        text.push(b'}');
        Self(text.into())
    }
}

fn write_list<'a>(text: &mut Vec<u8>, items: impl Iterator<Item = &'a [u8]>) {
    text.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(item);
    }
    text.push(b']');
}

impl IntoResponse for JsonText {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, JSON)], Body::from(self.0)).into_response()
    }
}
