//! The native API: workspaces and conversations at the root, as the documents describe it. Not in the official contract.

mod conversations;
mod execute;
mod files;
mod here;
mod stream;
mod workspaces;

use axum::http::HeaderMap;
use longshore_store::Owner;
use uuid::Uuid;

use crate::{ApiError, routing::Routes};

/// The header with which the same request again makes nothing new.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Characters of its value.
const MAX_IDEMPOTENCY_KEY: usize = 255;

pub(super) fn router() -> Routes {
    Routes::default()
        .merge(conversations::router())
        .merge(execute::router())
        .merge(files::router())
        .merge(workspaces::router())
}

/// Routes that look for their keys themselves.
pub(super) fn streams() -> Routes {
    stream::router()
}

/// The id of what a request makes: with an `Idempotency-Key` the same for the same user, `kind` and key, else a new one.
fn id_for(headers: &HeaderMap, user: &Owner, kind: &str) -> Result<Uuid, ApiError> {
    /// Drawn once; with another the ids would be others.
    const NAMESPACE: Uuid = Uuid::from_u128(0x1f0c_77b8_2d5e_4c39_8a94_e0b7_55d1_9c62);
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(Uuid::new_v4()) };
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let sentence = format!("Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY} characters.");
        return Err(ApiError::unprocessable(sentence));
    }
    // No kind and no name of a user has a zero byte.
    let name = [kind.as_bytes(), user.0.as_bytes(), key.as_bytes()].join(&0);
    Ok(Uuid::new_v5(&NAMESPACE, &name))
}
