//! `/me` and `/keys`: who asks, and the keys of whoever asks. Not in the official contract.

use axum::{extract::State, http::StatusCode};
use longshore_protocol::{
    account::{ApiKey, NewApiKey, Scope, UserName, UserRole},
    error::ErrorBody,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::admin::{KeyId, Listed, PageQuery};
use crate::{
    ApiError, Principal,
    accounts::{AccountError, KeyWish},
    audit::Trail,
    boxed::own_workspace_id,
    extract::{ApiJson, ApiPath, ApiQuery},
    respond::Json,
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(get_me))
        .route(|| routes!(create_own_key))
        .route(|| routes!(list_own_keys))
        .route(|| routes!(revoke_own_key))
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
struct Me {
    /// The user.
    user_id: String,
    /// What the user may be.
    role: UserRole,
    /// What the key is good for.
    scopes: Vec<Scope>,
    /// The workspace that requests act in which name none.
    workspace_id: Uuid,
    /// Whether the key opens that workspace only.
    is_bound: bool,
}

/// Who the server takes the client for.
#[utoipa::path(get, path = "/me", tag = "Keys", responses((status = 200, body = Me)))]
async fn get_me(principal: Principal) -> Json<Me> {
    let scopes: Vec<_> = Scope::ALL.into_iter().filter(|scope| principal.has(*scope)).collect();
    Json(Me {
        user_id: principal.user().0.to_string(),
        role: principal.role(),
        scopes,
        workspace_id: principal.workspace().unwrap_or_else(|| own_workspace_id(principal.user())),
        is_bound: principal.workspace().is_some(),
    })
}

/// Makes a key for the user who asks, with no more rights than the key that is shown. The answer is the only place where
/// the key can be read.
#[utoipa::path(post, path = "/keys", tag = "Keys", request_body = KeyWish, responses(
    (status = 201, body = NewApiKey),
    (status = 403, body = ErrorBody, description = "It would have more rights than the key that is shown."),
    (status = 404, body = ErrorBody, description = "This server has no such user: its keys are the operator's."),
))]
async fn create_own_key(
    State(state): State<AppState>,
    principal: Principal,
    trail: Trail,
    ApiJson(mut wish): ApiJson<KeyWish>,
) -> Result<(StatusCode, Json<NewApiKey>), ApiError> {
    for scope in wish.scopes.iter().flatten() {
        principal.require(*scope)?;
    }
    if wish.scopes.is_none() {
        wish.scopes = Some([Scope::Read, Scope::Write].into_iter().filter(|scope| principal.has(*scope)).collect());
    }
    if let Some(bound) = principal.workspace() {
        if wish.workspace_id.is_some_and(|id| id != bound) {
            return Err(ApiError::forbidden("This key opens one workspace only, and so do keys made with it."));
        }
        wish.workspace_id = Some(bound);
    }
    let made = state.accounts().create_key(&name(&principal)?, wish).await?;
    trail.about("key", &*made.api_key.id);
    Ok((StatusCode::CREATED, Json(made)))
}

/// The keys of the user who asks, the oldest first, without what makes them keys.
#[utoipa::path(get, path = "/keys", tag = "Keys", params(PageQuery), responses(
    (status = 200, body = Listed<ApiKey>),
))]
async fn list_own_keys(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(page): ApiQuery<PageQuery>,
) -> Result<Json<Listed<ApiKey>>, ApiError> {
    let limit = page.limit()?;
    unbound(&principal)?;
    let keys = state.accounts().keys(Some(&name(&principal)?), page.page_id.as_deref(), limit + 1).await?;
    Ok(Json(Listed::new(keys, limit, |key| key.id.clone())))
}

/// Revokes a key of the user who asks: it opens nothing from then on.
#[utoipa::path(delete, path = "/keys/{key_id}", tag = "Keys", params(("key_id" = String, Path)), responses(
    (status = 200, body = ApiKey),
    (status = 404, body = ErrorBody, description = "The user has no such key."),
))]
async fn revoke_own_key(
    State(state): State<AppState>,
    principal: Principal,
    ApiPath(KeyId { key_id }): ApiPath<KeyId>,
) -> Result<Json<ApiKey>, ApiError> {
    if principal.key_id() != Some(&key_id) {
        unbound(&principal)?;
    }
    let key = state.accounts().revoke_key(&key_id, Some(&name(&principal)?)).await?;
    state.accounts_changed();
    Ok(Json(key))
}

/// Nothing if the key opens all that the user has.
fn unbound(principal: &Principal) -> Result<(), ApiError> {
    match principal.workspace() {
        None => Ok(()),
        Some(_) => Err(ApiError::forbidden("This key opens one workspace only: use one that is not bound.")),
    }
}

fn name(principal: &Principal) -> Result<UserName, ApiError> {
    principal.user().0.parse().map_err(|reason| AccountError::Invalid(reason).into())
}
