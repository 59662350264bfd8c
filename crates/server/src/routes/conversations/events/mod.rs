//! `/api/conversations/{id}/events` (contract: server §4.4).

mod confirm;
mod read;
mod search;
mod send;

use crate::routing::Routes;

pub(super) fn router() -> Routes {
    Routes::default().merge(confirm::router()).merge(read::router()).merge(search::router()).merge(send::router())
}
