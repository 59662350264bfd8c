//! Where a file dialogue begins.

use axum::extract::State;
use longshore_protocol::file::{Home, Place as Location};
use longshore_workspace::{Command, Process};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{refused, search_subdirs::folders};
use crate::{ApiError, Place, extract::ApiQuery, respond::Json, routing::Routes, state::AppState};

/// Folders that are offered.
const MOST_FAVORITES: usize = 50;

/// Bytes that the path of a home may have.
const LONGEST_PATH: u64 = 4096;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(home))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Whether to offer folders whose names begin with a dot.
    #[serde(default)]
    include_hidden: bool,
}

/// The user's own folder in the workspace, and folders to begin with.
#[utoipa::path(get, path = "/api/file/home", tag = "Files", params(Query), responses((status = 200, body = Home)))]
async fn home(
    State(state): State<AppState>,
    place: Place,
    ApiQuery(query): ApiQuery<Query>,
) -> Result<Json<Home>, ApiError> {
    state.activity().touch();
    let home = find_home(&place).await?;
    // A home that cannot be listed is still one.
    let folders = folders(&place, home.as_ref(), query.include_hidden).await.unwrap_or_default();
    let favorites = folders.into_iter().take(MOST_FAVORITES);
    Ok(Json(Home {
        favorites: favorites.map(|folder| Location { label: folder.name, path: folder.path }).collect(),
        locations: vec![Location { label: "/".to_owned(), path: "/".to_owned() }],
        home,
    }))
}

/// The home of the workspace, which need not be on this machine: what its shell says.
async fn find_home(place: &Place) -> Result<String, ApiError> {
    let shell = Command::new("/bin/sh").arg("-c").arg("cd && pwd -P");
    let Process { stdin, stdout, stderr, control } = place.workspace.spawn(shell).await.map_err(refused)?;
    drop((stdin, stderr));
    let mut path = Vec::new();
    let read = stdout.take(LONGEST_PATH).read_to_end(&mut path).await;
    drop(control);
    read.map_err(|error| ApiError::internal("The home folder cannot be found", &error))?;
    let path = String::from_utf8_lossy(&path);
    let path = path.strip_suffix('\n').unwrap_or(&path);
    Ok(if path.starts_with('/') { path.to_owned() } else { "/".to_owned() })
}
