//! `/api/audit`: who did what. Not in the official contract.

use axum::extract::State;
use longshore_protocol::{UtcTime, error::ErrorBody};
use longshore_store::AuditQuery;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    ApiError, AuditItem,
    extract::{ApiQuery, Least, bounded},
    respond::Json,
    routing::Routes,
    state::AppState,
};

/// Records of one answer, at most and if nobody says how many.
const MAX_RECORDS: i64 = 1000;
const DEFAULT_RECORDS: usize = 100;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(search_audit))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Only what this user did.
    #[serde(default)]
    actor: Option<String>,
    /// Only this action, such as `conversation.delete`.
    #[serde(default)]
    action: Option<String>,
    /// Only what was done to the thing with this id.
    #[serde(default)]
    target: Option<String>,
    /// Not before this time.
    #[serde(default)]
    since: Option<UtcTime>,
    /// Before this time.
    #[serde(default)]
    before: Option<UtcTime>,
    /// Oldest first, from this position on.
    #[serde(default)]
    from_seq: Option<u64>,
    /// Newest first, below this position: the `next_seq` of the page before.
    #[serde(default)]
    below_seq: Option<u64>,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// Some records of the audit log.
#[derive(Serialize, ToSchema)]
struct AuditPage {
    /// The records.
    items: Vec<AuditItem>,
    /// What to give as `from_seq` or `below_seq` for what follows; absent if nothing follows now.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_seq: Option<u64>,
}

/// Who did what, newest first or from a position on. For administrators.
#[utoipa::path(get, path = "/api/audit", tag = "Audit", params(Query), responses(
    (status = 200, body = AuditPage),
    (status = 403, body = ErrorBody, description = "Only administrators may see what others did."),
))]
async fn search_audit(
    State(state): State<AppState>,
    ApiQuery(query): ApiQuery<Query>,
) -> Result<Json<AuditPage>, ApiError> {
    let limit = bounded("limit", query.limit, Least::From(1), MAX_RECORDS, DEFAULT_RECORDS)?;
    let wish = AuditQuery {
        actor: query.actor,
        action: query.action,
        target: query.target,
        since: query.since,
        before: query.before,
        from: query.from_seq,
        below: query.below_seq,
        limit: limit + 1,
    };
    let mut records = state.engine().store().find_audit(wish).await?;
    let has_more = records.len() > limit;
    records.truncate(limit);
    let next_seq = records.last().filter(|_| has_more).map(|last| last.seq + u64::from(query.from_seq.is_some()));
    Ok(Json(AuditPage { items: records.into_iter().map(Into::into).collect(), next_seq }))
}
