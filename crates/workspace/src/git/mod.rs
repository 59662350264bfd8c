//! Git, asked through a workspace: what differs, how, and the history.
//!
//! Only reading commands and `git init` run, hardened against what a repository's own configuration can do: no hooks, no
//! external diff or text conversion programs, no file system monitor, no network, no prompts; the user's and the
//! machine's configuration are not read. The exception are content filters that the repository itself configures, which
//! git needs to compare files; they run in the workspace, where whoever wrote the configuration runs programs anyway.
//!
//! A folder that is not there or in no repository has no changes and no commits; that is not an error.

mod base;
mod changes;
mod commits;
mod diff;
mod run;
mod status;

use std::{path::PathBuf, time::Duration};

pub use changes::{changes, commit_changes};
pub use commits::commits;
pub use diff::{commit_diff, diff};
use run::Git;

use crate::Workspace;

/// How large a file can be for a diff.
pub const MAX_DIFF_FILE: usize = 1024 * 1024;

/// Why git cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Git refuses: most often a reference that does not exist.
    #[error("Git command failed: {command}{reason}")]
    Failed {
        /// The command, for people.
        command: String,
        /// What git says about it, after a colon.
        reason: String,
    },
    /// Git does not come to an end.
    #[error("Git command timed out after {} s: {command}", limit.as_secs())]
    TimedOut {
        /// The command, for people.
        command: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Git answers more than is read.
    #[error("Git command answered more than {limit} bytes: {command}")]
    TooMuchOutput {
        /// The command, for people.
        command: String,
        /// How much is read.
        limit: usize,
    },
    /// A file is too large for a diff.
    #[error("File too large for git diff: {} (max: {MAX_DIFF_FILE} bytes)", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is neither there now nor in the base.
    #[error("File does not exist: {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is no git.
    #[error("git is not installed in the workspace: install it there, or put it in PATH")]
    NotInstalled,
    /// The workspace refuses.
    #[error(transparent)]
    Workspace(#[from] crate::Error),
}

/// Makes a repository of `folder` unless it is in one. Returns whether it did.
///
/// # Errors
/// [`Error::Failed`] if git refuses, [`Error::NotInstalled`], [`Error::Workspace`] for a folder that is not there.
pub async fn init_if_needed(workspace: &dyn Workspace, folder: &std::path::Path) -> Result<bool, Error> {
    let Some(git) = Git::open(workspace, folder).await? else {
        return Err(crate::Error::NotADirectory { path: folder.to_owned() }.into());
    };
    if git.run(&["rev-parse", "--git-dir"]).await?.success {
        return Ok(false);
    }
    git.bytes(&["init", "--quiet"]).await?;
    Ok(true)
}
