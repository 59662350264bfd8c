//! `/workspaces/{id}/files`: the files below a workspace's folder, by their paths there.

mod list;
mod path;
mod read;
mod remove;
mod write;

use crate::routing::Routes;

pub(super) fn router() -> Routes {
    Routes::default().merge(read::router()).merge(remove::router()).merge(write::router())
}
