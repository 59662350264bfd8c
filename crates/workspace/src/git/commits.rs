//! The history.

use std::path::Path;

use longshore_protocol::git::{GitCommit, GitCommitPage};

use super::{Error, run::Git};
use crate::Workspace;

/// The parts of a commit, each with a NUL at its end, which none of them can hold.
const FORMAT: &str = "--format=tformat:%H%x00%h%x00%an%x00%aI%x00%s";

/// The latest `limit` commits of what is checked out in `folder`.
///
/// # Errors
/// What git and the workspace refuse.
pub async fn commits(workspace: &dyn Workspace, folder: &Path, limit: usize) -> Result<GitCommitPage, Error> {
    const NONE: GitCommitPage = GitCommitPage { commits: Vec::new(), has_more: false };
    let Some(git) = Git::open(workspace, folder).await? else { return Ok(NONE) };
    let count = limit.saturating_add(1).to_string();
    let args =
        ["log", "-z", "--no-show-signature", "--no-notes", "--encoding=UTF-8", FORMAT, "-n", &count, "HEAD", "--"];
    let output = git.run(&args).await?;
    if !output.success {
        // In no repository, or in one without commits, there is nothing to tell.
        return match git.line(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await? {
            None => Ok(NONE),
            Some(_) => Err(output.failed(&args)),
        };
    }
    let mut commits = parse(&output.stdout);
    let has_more = commits.len() > limit;
    commits.truncate(limit);
    Ok(GitCommitPage { commits, has_more })
}

fn parse(answer: &[u8]) -> Vec<GitCommit> {
    let text = String::from_utf8_lossy(answer);
    let mut parts = text.split('\0').map(str::to_owned);
    let mut commits = Vec::new();
    while let (Some(sha), Some(short_sha), Some(author), Some(timestamp), Some(subject)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    {
        // Older versions of git write UTC as an offset.
        let timestamp = timestamp.strip_suffix("+00:00").map(|time| format!("{time}Z")).unwrap_or(timestamp);
        commits.push(GitCommit { sha, short_sha, subject, author, timestamp });
    }
    commits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_can_hold_anything_but_nul() {
        let commits = parse(b"aa\0a\0Ann \x1f Other\x002026-01-02T03:04:05+00:00\0subject \x1f with | signs\0");
        assert_eq!(commits.len(), 1);
        assert_eq!(commits[0].author, "Ann \u{1f} Other");
        assert_eq!(commits[0].timestamp, "2026-01-02T03:04:05Z");
        assert_eq!(commits[0].subject, "subject \u{1f} with | signs");
    }
}
