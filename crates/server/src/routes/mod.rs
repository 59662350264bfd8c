//! What the server answers, one file per operation or tight group, under the resource's name.

pub(crate) mod admin;
mod audit;
pub(crate) mod bash;
pub(crate) mod conversations;
mod docs;
pub(crate) mod file;
pub(crate) mod git;
mod health;
mod me;
mod metrics;
mod models;
mod native;
pub(crate) mod sandbox;
mod server_info;
mod tools;
pub(crate) mod usage;

use axum::Router;

use crate::{routing::Routes, state::AppState};

/// Routes for admins only.
pub(crate) fn admin() -> Routes {
    admin::router().merge(audit::router())
}

/// Routes for principals only: those below `/api`, and our own. What acts in a place is there twice: for the server's own place, and for each
/// conversation's (contract: server §6.4).
pub(crate) fn api() -> Routes {
    Routes::default()
        .merge(conversations::router())
        .merge(file::folders())
        .merge(me::router())
        .merge(native::router())
        .merge(tools::router())
        .merge(models::router())
        .merge(usage::router())
        .nest("/api", of_place())
        .nest("/api/conversations/{conversation_id}", of_place())
}

fn of_place() -> Routes {
    Routes::default().merge(bash::router()).merge(file::router()).merge(git::router()).merge(sandbox::router())
}

/// Routes for principals only that look for their keys themselves, because pages in browsers open them.
pub(crate) fn streams() -> Routes {
    native::streams()
}

/// Routes that are open to all.
pub(crate) fn open() -> Routes {
    Routes::default().merge(health::router()).merge(metrics::router()).merge(server_info::router())
}

/// Pages about the server, which are not in the document.
pub(crate) fn pages() -> Router<AppState> {
    docs::router()
}
