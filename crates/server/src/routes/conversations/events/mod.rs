//! `/api/conversations/{id}/events` (contract: server §4.4).

mod confirm;
mod read;
mod search;
mod send;

use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .merge(confirm::router())
        .merge(read::router())
        .merge(search::router())
        .merge(send::router())
}
