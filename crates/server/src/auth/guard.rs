//! What stands before routes: who asks, whether the key is good for it, and whether it reaches so far.

use axum::{
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, Method},
    middleware::Next,
    response::Response,
};
use longshore_protocol::{ConversationId, account::Scope};

use super::{Principal, key_in};
use crate::{
    ApiError,
    audit::Trail,
    front::note,
    protect::{Client, authenticate},
    state::AppState,
};

/// Lets a request through only if it has a principal whose key is good for it, before anything of its body is read.
pub(crate) async fn require_principal(
    State(state): State<AppState>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let scope = if request.method().is_safe() { Scope::Read } else { Scope::Write };
    let principal = of_request(&state, &request).await?;
    principal.require(scope)?;
    // What is no id is refused by whoever reads it.
    let named = parameters.as_ref().ok().and_then(|all| all.iter().find(|(name, _)| *name == "conversation_id"));
    if let Some(id) = named.and_then(|(_, id)| id.parse().ok()) {
        in_reach(&state, &principal, id).await?;
    }
    Ok(pass(principal, request, next).await)
}

/// Lets a request through only if it is an admin's.
pub(crate) async fn require_admin(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = of_request(&state, &request).await?;
    principal.require(Scope::Admin)?;
    Ok(pass(principal, request, next).await)
}

/// Nothing if `principal` is not bound to another workspace than the conversation's. Whose conversation it is, whoever
/// looks for it finds out.
///
/// # Errors
/// 404, as if it were not there.
pub(crate) async fn in_reach(state: &AppState, principal: &Principal, id: ConversationId) -> Result<(), ApiError> {
    let Some(bound) = principal.workspace() else { return Ok(()) };
    match state.engine().store().is_in_workspace(principal.user(), id, bound).await? {
        Some(true) => Ok(()),
        _ => Err(ApiError::not_found(format!("Conversation not found: {id}"))),
    }
}

/// Who asks.
///
/// # Errors
/// 401, and 429 for too many requests.
pub(crate) async fn principal(
    state: &AppState,
    method: &Method,
    headers: &HeaderMap,
    client: Option<Client>,
    trail: &Trail,
) -> Result<Principal, ApiError> {
    let principal = if let Some(anybody) = state.authenticator().anybody() {
        anybody
    } else {
        let key = key_in(headers).ok_or_else(ApiError::unauthorized)?;
        authenticate(state, client, key).await?
    };
    note(&principal);
    trail.by(&principal);
    if !state.trusts(client) {
        state.protection().admit_user(principal.user(), method)?;
    }
    Ok(principal)
}

/// Who asks by a request. Its body cannot be shared, so it is no part of what is waited with.
fn of_request<'a>(
    state: &'a AppState,
    request: &Request,
) -> impl Future<Output = Result<Principal, ApiError>> + Send + use<'a> {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let client = request.extensions().get().copied();
    let trail = request.extensions().get::<Trail>().cloned().unwrap_or_default();
    async move { principal(state, &method, &headers, client, &trail).await }
}

async fn pass(principal: Principal, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(principal);
    next.run(request).await
}
