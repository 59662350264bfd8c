//! Git over the API (contract: server §6.3).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GitStatus {
    /// It has another name.
    Moved,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content is another.
    Updated,
}

/// A file that differs from the base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct GitChange {
    /// What happened to it.
    pub status: GitStatus,
    /// Its path below the repository, with `/`.
    pub path: String,
}

/// A file's text now and in the base. Nulls are written: the file is in no repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitDiff {
    /// Now; empty if it is gone.
    pub modified: Option<String>,
    /// In the base; empty if it is new.
    pub original: Option<String>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitCommit {
    /// The full name.
    pub sha: String,
    /// The short name.
    pub short_sha: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When, with its offset from UTC.
    pub timestamp: String,
}

/// The latest commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitCommitPage {
    /// The commits, newest first.
    pub commits: Vec<GitCommit>,
    /// Whether there are older ones.
    pub has_more: bool,
}
