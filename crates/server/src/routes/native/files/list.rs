//! What is in a folder.

use std::path::Path;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use longshore_protocol::UtcTime;
use longshore_workspace::{Entry, FileKind, Workspace};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    ApiError,
    extract::{Least, bounded},
    routes::file::refused,
};

/// Entries of one answer.
const MAX_ENTRIES: i64 = 1000;

/// Entries that are looked at at one time.
const AT_ONCE: usize = 16;

/// Which part of a listing.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// For a folder: `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<String>,
    /// For a folder: at most so many entries, 1 to 1000.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<i64>,
}

/// What is in a folder, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FolderListing {
    /// The folder's path below the workspace's folder; empty for that itself.
    path: String,
    items: Vec<FolderEntry>,
    /// The `page_id` of the next page.
    next_page_id: Option<String>,
}

/// Something in a folder.
#[derive(Debug, Serialize, ToSchema)]
struct FolderEntry {
    /// Its name. What is no UTF-8 in it is replaced.
    name: String,
    /// What it is.
    kind: EntryKind,
    /// Bytes, of a file.
    size: Option<u64>,
    /// When it last changed; not known of symbolic links.
    modified_at: Option<UtcTime>,
}

/// What something in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EntryKind {
    File,
    Directory,
    Symlink,
    Other,
}

impl From<FileKind> for EntryKind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => Self::File,
            FileKind::Directory => Self::Directory,
            FileKind::Symlink => Self::Symlink,
            FileKind::Other => Self::Other,
        }
    }
}

/// A page of what is in `folder`, which is at `relative`.
pub(super) async fn list(
    workspace: &dyn Workspace,
    folder: &Path,
    relative: &Path,
    query: ListQuery,
) -> Result<FolderListing, ApiError> {
    let limit = bounded("limit", query.limit, Least::Above(0), MAX_ENTRIES, 1000)?;
    let mut entries = workspace.list(folder).await.map_err(refused)?;
    entries.sort_by_cached_key(name);
    let start = query.page_id.map_or(0, |from| entries.partition_point(|entry| name(entry) < from));
    let next_page_id = entries.get(start + limit).map(name);
    let page = entries.into_iter().skip(start).take(limit);
    let items = stream::iter(page).map(|entry| describe(workspace, folder, entry)).buffered(AT_ONCE).collect().await;
    Ok(FolderListing { path: relative.to_string_lossy().into_owned(), items, next_page_id })
}

async fn describe(workspace: &dyn Workspace, folder: &Path, entry: Entry) -> FolderEntry {
    let kind = EntryKind::from(entry.kind);
    // A link may lead anywhere. What has gone meanwhile is named all the same.
    let metadata = match kind {
        EntryKind::Symlink => None,
        _ => workspace.metadata(&folder.join(&entry.name)).await.ok(),
    };
    let modified = metadata.and_then(|metadata| metadata.modified);
    FolderEntry {
        name: name(&entry),
        kind,
        size: metadata.filter(|_| kind == EntryKind::File).map(|metadata| metadata.len),
        modified_at: modified.and_then(|time| Timestamp::try_from(time).ok()).map(UtcTime),
    }
}

fn name(entry: &Entry) -> String {
    entry.name.to_string_lossy().into_owned()
}
