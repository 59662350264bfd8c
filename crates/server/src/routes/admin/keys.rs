//! Keys of all users.

use axum::{extract::State, http::StatusCode};
use longshore_protocol::{
    account::{ApiKey, NewApiKey, UserName},
    error::ErrorBody,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{Listed, page_size, users::Named};
use crate::{
    ApiError,
    accounts::KeyWish,
    audit::Trail,
    extract::{ApiJson, ApiPath, ApiQuery},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(create_key)).route(|| routes!(list_keys)).route(|| routes!(revoke_key))
}

/// Makes a key for a user. The answer is the only place where the key can be read.
#[utoipa::path(post, path = "/admin/users/{name}/keys", tag = "Admin", params(("name" = String, Path)),
    request_body = KeyWish, responses(
        (status = 201, body = NewApiKey),
        (status = 404, body = ErrorBody, description = "Nobody has the name."),
    ))]
async fn create_key(
    State(state): State<AppState>,
    trail: Trail,
    ApiPath(Named { name }): ApiPath<Named>,
    ApiJson(wish): ApiJson<KeyWish>,
) -> Result<(StatusCode, Json<NewApiKey>), ApiError> {
    trail.of_user(name.to_string());
    let made = state.accounts().create_key(&name, wish).await?;
    trail.about("key", &*made.api_key.id);
    Ok((StatusCode::CREATED, Json(made)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct KeysQuery {
    /// Only this user's.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    user: Option<UserName>,
    /// `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<String>,
    /// At most so many: 1 to 100.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
}

/// Keys, the oldest first, without what makes them keys.
#[utoipa::path(get, path = "/admin/keys", tag = "Admin", params(KeysQuery), responses(
    (status = 200, body = Listed<ApiKey>),
))]
async fn list_keys(
    State(state): State<AppState>,
    ApiQuery(KeysQuery { user, page_id, limit }): ApiQuery<KeysQuery>,
) -> Result<Json<Listed<ApiKey>>, ApiError> {
    let limit = page_size(limit)?;
    let keys = state.accounts().keys(user.as_ref(), page_id.as_deref(), limit + 1).await?;
    Ok(Json(Listed::new(keys, limit, |key| key.id.clone())))
}

/// The id in a path.
#[derive(Deserialize)]
pub(crate) struct KeyId {
    pub(crate) key_id: String,
}

/// Revokes a key: it opens nothing from then on.
#[utoipa::path(delete, path = "/admin/keys/{key_id}", tag = "Admin", params(("key_id" = String, Path)), responses(
    (status = 200, body = ApiKey),
    (status = 404, body = ErrorBody, description = "No key has the id."),
))]
async fn revoke_key(
    State(state): State<AppState>,
    trail: Trail,
    ApiPath(KeyId { key_id }): ApiPath<KeyId>,
) -> Result<Json<ApiKey>, ApiError> {
    let key = state.accounts().revoke_key(&key_id, None).await?;
    state.accounts_changed();
    trail.of_user(key.user.to_string());
    Ok(Json(key))
}
