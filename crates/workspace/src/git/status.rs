//! Where a repository stands: its branch, whether tracked files changed, and what is untracked.

use super::{Error, run::Git};

/// What `git status` says, in one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The commit that is checked out; none before the first commit.
    pub(super) head: Option<String>,
    /// The branch; none if a commit itself is checked out.
    pub(super) branch: Option<String>,
    /// Whether a tracked file differs from `head`.
    pub(super) dirty: bool,
    /// What git does not know and does not ignore, from the top of the repository. Empty if it was not asked for.
    pub(super) untracked: Vec<Vec<u8>>,
}

/// Whether untracked files are looked for, which takes a walk through all folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untracked {
    Listed,
    Skipped,
}

impl Status {
    /// Asks git.
    pub(super) async fn ask(git: &Git<'_>, untracked: Untracked) -> Result<Self, Error> {
        let untracked = match untracked {
            Untracked::Listed => "--untracked-files=all",
            Untracked::Skipped => "--untracked-files=no",
        };
        let answer = git
            .bytes(&[
                "status",
                "--porcelain=v2",
                "--branch",
                "-z",
                "--no-ahead-behind",
                "--no-renames",
                "--ignore-submodules=dirty",
                untracked,
            ])
            .await?;
        Ok(Self::parse(&answer))
    }

    fn parse(answer: &[u8]) -> Self {
        let mut status = Self::default();
        for entry in answer.split(|byte| *byte == 0) {
            if let Some(header) = entry.strip_prefix(b"# ") {
                status.header(&String::from_utf8_lossy(header));
            } else if let Some(path) = entry.strip_prefix(b"? ") {
                status.untracked.push(path.to_owned());
            } else if matches!(entry, [b'1' | b'2' | b'u', b' ', ..]) {
                status.dirty = true;
            }
        }
        status
    }

    fn header(&mut self, header: &str) {
        if let Some(commit) = header.strip_prefix("branch.oid ") {
            self.head = (commit != "(initial)").then(|| commit.to_owned());
        } else if let Some(branch) = header.strip_prefix("branch.head ") {
            self.branch = (branch != "(detached)").then(|| branch.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_any_bytes_stay_whole() {
        let answer = b"# branch.oid (initial)\0# branch.head main\0? a b\n.txt\0? \xff\0";
        let status = Status::parse(answer);
        assert_eq!(status.head, None);
        assert_eq!(status.branch.as_deref(), Some("main"));
        assert!(!status.dirty);
        assert_eq!(status.untracked, [b"a b\n.txt".to_vec(), b"\xff".to_vec()]);
    }

    #[test]
    fn a_changed_file_is_not_an_untracked_one() {
        let answer = b"# branch.oid abc\0# branch.head (detached)\x001 .M N... 100644 100644 100644 1 1 ? x\0";
        let status = Status::parse(answer);
        assert_eq!(status.head.as_deref(), Some("abc"));
        assert_eq!(status.branch, None);
        assert!(status.dirty);
        assert!(status.untracked.is_empty());
    }
}
