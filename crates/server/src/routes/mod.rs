//! What the server answers, one file per operation or tight group, under the resource's name.

pub(crate) mod bash;
mod conversations;
mod docs;
pub(crate) mod file;
pub(crate) mod git;
mod health;
mod server_info;
mod tools;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// Routes below `/api`, for principals only.
pub(crate) fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .merge(bash::router())
        .merge(conversations::router())
        .merge(file::router())
        .merge(git::router())
        .merge(tools::router())
}

/// Routes that are open to all.
pub(crate) fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::default().merge(health::router()).merge(server_info::router())
}

/// Pages about the server, which are not in the document.
pub(crate) fn pages() -> Router<AppState> {
    docs::router()
}
