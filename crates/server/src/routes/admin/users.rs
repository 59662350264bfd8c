//! Users.

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use longshore_protocol::{
    UtcTime,
    account::{User, UserName, UserOptions, UserRole},
    error::ErrorBody,
};
use longshore_store::{Owner, UserChange};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Listed, PageQuery};
use crate::{
    ApiError, Principal,
    accounts::UserWish,
    audit::Trail,
    extract::{ApiJson, ApiPath, ApiQuery},
    respond::{Json, JsonWithNulls},
    routes::usage::{PeriodQuery, UsageReport, report},
    routing::Routes,
    state::AppState,
};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(add_user))
        .route(|| routes!(list_users))
        .route(|| routes!(get_user))
        .route(|| routes!(change_user))
        .route(|| routes!(usage_of_user))
}

/// The name in a path.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) name: UserName,
}

/// Adds a user, who has no key yet.
#[utoipa::path(post, path = "/admin/users", tag = "Admin", request_body = UserWish, responses(
    (status = 201, body = User),
    (status = 409, body = ErrorBody, description = "The name is taken."),
))]
async fn add_user(
    State(state): State<AppState>,
    trail: Trail,
    ApiJson(wish): ApiJson<UserWish>,
) -> Result<(StatusCode, Json<User>), ApiError> {
    let user = state.accounts().add_user(wish).await?;
    trail.about("user", user.name.to_string());
    Ok((StatusCode::CREATED, Json(user)))
}

/// All users, by name.
#[utoipa::path(get, path = "/admin/users", tag = "Admin", params(PageQuery), responses(
    (status = 200, body = Listed<User>),
))]
async fn list_users(
    State(state): State<AppState>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Listed<User>>, ApiError> {
    let limit = query.limit()?;
    let after = query.page_id.as_deref().map(str::parse::<UserName>).transpose().map_err(ApiError::unprocessable)?;
    let users = state.accounts().users(after.as_ref(), limit + 1).await?;
    Ok(Json(Listed::new(users, limit, |user| user.name.to_string())))
}

/// One user.
#[utoipa::path(get, path = "/admin/users/{name}", tag = "Admin", params(("name" = String, Path)), responses(
    (status = 200, body = User),
    (status = 404, body = ErrorBody, description = "Nobody has the name."),
))]
async fn get_user(
    State(state): State<AppState>,
    ApiPath(Named { name }): ApiPath<Named>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(state.accounts().user(&name).await?))
}

/// Body of `PATCH /admin/users/{name}`; what is left out stays as it is.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ChangeUser {
    /// What the user may be.
    role: Option<UserRole>,
    /// Whether the user's keys open nothing.
    disabled: Option<bool>,
    /// What is decided for this user, all of it.
    options: Option<UserOptions>,
}

/// Changes a user. Keys of a user who is disabled open nothing from then on; what runs goes on and can be seen again when
/// the user is enabled.
#[utoipa::path(patch, path = "/admin/users/{name}", tag = "Admin", params(("name" = String, Path)),
    request_body = ChangeUser, responses(
        (status = 200, body = User),
        (status = 404, body = ErrorBody, description = "Nobody has the name."),
        (status = 409, body = ErrorBody, description = "It is the admin who asks: another one must do that."),
    ))]
async fn change_user(
    State(state): State<AppState>,
    principal: Principal,
    trail: Trail,
    ApiPath(Named { name }): ApiPath<Named>,
    ApiJson(change): ApiJson<ChangeUser>,
) -> Result<Json<User>, ApiError> {
    let ChangeUser { role, disabled, options } = change;
    let loses_rights = disabled == Some(true) || role == Some(UserRole::User);
    if loses_rights && *principal.user().0 == *name.as_str() {
        return Err(ApiError::conflict("Nobody shuts themselves out: let another admin do that."));
    }
    if let Some(role) = role {
        trail.detail("role", role.as_str());
    }
    if let Some(disabled) = disabled {
        trail.detail("disabled", disabled);
    }
    let change = UserChange { at: UtcTime(Timestamp::now()), role, is_disabled: disabled, options };
    let user = state.accounts().change_user(&name, change).await?;
    state.accounts_changed();
    Ok(Json(user))
}

/// What a user spent on models, and what is left of the budgets.
#[utoipa::path(get, path = "/admin/users/{name}/usage", tag = "Admin", params(("name" = String, Path), PeriodQuery),
    responses(
        (status = 200, body = UsageReport),
        (status = 404, body = ErrorBody, description = "Nobody has the name."),
    ))]
async fn usage_of_user(
    State(state): State<AppState>,
    ApiPath(Named { name }): ApiPath<Named>,
    ApiQuery(query): ApiQuery<PeriodQuery>,
) -> Result<JsonWithNulls<UsageReport>, ApiError> {
    state.accounts().user(&name).await?;
    Ok(JsonWithNulls(report(&state, &Owner(name.as_str().into()), &query).await?))
}
