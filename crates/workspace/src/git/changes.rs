//! Which files differ.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use futures::{StreamExt as _, stream};
use longshore_protocol::git::{GitChange, GitStatus};

use super::{
    Error, base,
    run::Git,
    status::{Status, Untracked},
};
use crate::{FileKind, Workspace};

/// How many folders are looked into, and repositories asked, at the same time.
const PARALLEL: usize = 8;

/// A change before its path is made fit for JSON.
type Change = (Vec<u8>, GitStatus);

/// The files below `folder` that differ from `reference`, or from the base that is chosen without one, untracked ones
/// included, by path. Repositories in the folders of `folder` are asked too.
///
/// # Errors
/// [`Error::Failed`] for a reference that does not exist, and what else git and the workspace refuse.
pub async fn changes(
    workspace: &dyn Workspace,
    folder: &Path,
    reference: Option<&str>,
) -> Result<Vec<GitChange>, Error> {
    let (own, nested) = tokio::join!(below(workspace, folder, reference), nested(workspace, folder));
    // The nested repositories' files are told once, by the nested repositories.
    let mut changes: Vec<Change> = own?;
    changes.retain(|(path, _)| {
        let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        !nested.contains(first)
    });
    let mut answers = stream::iter(nested)
        .map(|name| async move {
            let folder = folder.join(OsString::from_vec(name.clone()));
            // A broken repository, or one without the reference, does not hide the others.
            let changes = below(workspace, &folder, reference).await.unwrap_or_default();
            (name, changes)
        })
        .buffer_unordered(PARALLEL);
    while let Some((name, nested)) = answers.next().await {
        changes.extend(nested.into_iter().map(|(path, status)| ([&name[..], b"/", &path].concat(), status)));
    }
    Ok(told(changes))
}

/// The files that a commit changed against its first parent, by path from the top of the repository.
///
/// # Errors
/// [`Error::Failed`] for a commit that does not exist, and what else git and the workspace refuse.
pub async fn commit_changes(workspace: &dyn Workspace, folder: &Path, commit: &str) -> Result<Vec<GitChange>, Error> {
    let Some(git) = Git::open(workspace, folder).await? else { return Ok(Vec::new()) };
    if git.prefix().await?.is_none() {
        return Ok(Vec::new());
    }
    let (commit, parent) = with_parent(&git, commit).await?;
    let args = ["diff-tree", "-r", "--name-status", "-z", "--no-renames", "--no-relative", &parent, &commit];
    Ok(told(name_status(&git.bytes(&args).await?)))
}

/// A commit's full name and that of its first parent, or of the empty tree.
pub(super) async fn with_parent(git: &Git<'_>, commit: &str) -> Result<(String, String), Error> {
    let commit = base::resolve(git, commit).await?;
    let parent = match git.line(&["rev-parse", "--verify", "--quiet", &format!("{commit}^")]).await? {
        Some(parent) => parent,
        None => base::empty_tree(git).await?,
    };
    Ok((commit, parent))
}

/// The changes in one repository below `folder`, with paths from there.
async fn below(workspace: &dyn Workspace, folder: &Path, reference: Option<&str>) -> Result<Vec<Change>, Error> {
    let Some(git) = Git::open(workspace, folder).await? else { return Ok(Vec::new()) };
    let (prefix, status) = tokio::join!(git.prefix(), Status::ask(&git, Untracked::Listed));
    let Some(prefix) = prefix? else { return Ok(Vec::new()) };
    let status = status?;
    let base = base::choose(&git, reference, &status).await?;
    let args = [
        "diff",
        "--name-status",
        "-z",
        "--relative",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--ignore-submodules=dirty",
        &base,
        "--",
    ];
    let mut changes = name_status(&git.bytes(&args).await?);
    let untracked = status.untracked.iter().filter_map(|path| path.strip_prefix(&*prefix));
    // A repository that is no submodule is told as a folder, with a slash at its end.
    let untracked = untracked.map(|path| path.strip_suffix(b"/").unwrap_or(path));
    changes.extend(untracked.map(|path| (path.to_owned(), GitStatus::Added)));
    Ok(changes)
}

/// The folders in `folder` that are repositories. Symbolic links are left out: they lead to other places.
async fn nested(workspace: &dyn Workspace, folder: &Path) -> BTreeSet<Vec<u8>> {
    let Ok(entries) = workspace.list(folder).await else { return BTreeSet::new() };
    let folders = entries
        .into_iter()
        .filter(|entry| entry.kind == FileKind::Directory && !entry.name.as_bytes().starts_with(b"."))
        .map(|entry| entry.name);
    stream::iter(folders)
        .map(|name| async move {
            let found = workspace.metadata(&folder.join(&name).join(".git")).await.is_ok();
            found.then(|| name.into_vec())
        })
        .buffer_unordered(PARALLEL)
        .filter_map(|name| async move { name })
        .collect()
        .await
}

/// Reads pairs of a letter and a path. A file in a merge conflict comes twice.
fn name_status(answer: &[u8]) -> Vec<Change> {
    let mut parts = answer.split(|byte| *byte == 0);
    let mut changes = Vec::new();
    while let (Some(letter), Some(path)) = (parts.next(), parts.next()) {
        let status = match letter {
            b"A" => GitStatus::Added,
            b"D" => GitStatus::Deleted,
            // Changed content, another kind of file, a conflict.
            _ => GitStatus::Updated,
        };
        changes.push((path.to_owned(), status));
    }
    changes
}

fn told(mut changes: Vec<Change>) -> Vec<GitChange> {
    changes.sort();
    changes.dedup();
    let told = |(path, status): Change| GitChange { status, path: String::from_utf8_lossy(&path).into_owned() };
    changes.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_line_feeds_and_foreign_bytes_stay_whole() {
        let changes = name_status(b"A\0a\nb\0D\0\xff\0T\0c\0");
        let expected = [(&b"a\nb"[..], GitStatus::Added), (b"\xff", GitStatus::Deleted), (b"c", GitStatus::Updated)];
        assert_eq!(changes, expected.map(|(path, status)| (path.to_owned(), status)));
    }

    #[test]
    fn a_conflict_is_told_once() {
        assert_eq!(told(name_status(b"U\0a\0M\0a\0")).len(), 1);
    }
}
