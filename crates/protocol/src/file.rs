//! Files over the API (contract: server §6.2).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileUploaded {
    /// Always true.
    pub success: bool,
    /// Bytes written.
    pub file_size: u64,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// Its absolute path.
    pub path: String,
}

/// A page of folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FolderPage {
    /// The folders.
    pub items: Vec<Folder>,
    /// The name at which the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_id: Option<String>,
}

/// A folder that a file dialogue offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// What people call it.
    pub label: String,
    /// Its absolute path.
    pub path: String,
}

/// Where a file dialogue begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Home {
    /// The user's own folder.
    pub home: String,
    /// Folders in it.
    pub favorites: Vec<Place>,
    /// File systems.
    pub locations: Vec<Place>,
}
