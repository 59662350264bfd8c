//! A file's text now and in the base.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use longshore_protocol::git::GitDiff;
use tokio::io::AsyncReadExt as _;

use super::{
    Error, MAX_DIFF_FILE, base,
    changes::with_parent,
    run::Git,
    status::{Status, Untracked},
};
use crate::Workspace;

/// The text of the file at `path` now, and in `reference` or the base that is chosen without one.
///
/// # Errors
/// [`Error::Missing`] for a file that neither has, [`Error::TooLarge`], [`Error::Failed`] for a reference that does not
/// exist, and what else git and the workspace refuse.
pub async fn diff(workspace: &dyn Workspace, path: &Path, reference: Option<&str>) -> Result<GitDiff, Error> {
    let file = Located::find(workspace, path).await?;
    let Some((git, _)) = &file.place else {
        return if file.exists { Ok(NOWHERE) } else { Err(file.missing()) };
    };
    let status = Status::ask(git, Untracked::Skipped).await?;
    let base = base::choose(git, reference, &status).await?;
    let (original, modified) = tokio::try_join!(file.at(&base), file.now(workspace))?;
    if original.is_none() && modified.is_none() {
        return Err(file.missing());
    }
    Ok(texts(modified, original))
}

/// The text of the file at `path` in `commit` and in its first parent. The file need not be there any more.
///
/// # Errors
/// [`Error::Failed`] for a commit that does not exist, [`Error::TooLarge`], and what else git and the workspace refuse.
pub async fn commit_diff(workspace: &dyn Workspace, path: &Path, commit: &str) -> Result<GitDiff, Error> {
    let file = Located::find(workspace, path).await?;
    let Some((git, _)) = &file.place else { return Ok(NOWHERE) };
    let (commit, parent) = with_parent(git, commit).await?;
    let (original, modified) = tokio::try_join!(file.at(&parent), file.at(&commit))?;
    Ok(texts(modified, original))
}

const NOWHERE: GitDiff = GitDiff { modified: None, original: None };

fn texts(modified: Option<String>, original: Option<String>) -> GitDiff {
    GitDiff { modified: Some(modified.unwrap_or_default()), original: Some(original.unwrap_or_default()) }
}

/// A file and its repository.
struct Located<'a> {
    /// As it was asked for, absolute.
    path: PathBuf,
    exists: bool,
    /// Git in the file's folder, or in the nearest one above that is still there, and the file's path from the top of the
    /// repository.
    place: Option<(Git<'a>, PathBuf)>,
}

impl<'a> Located<'a> {
    async fn find(workspace: &'a dyn Workspace, path: &Path) -> Result<Self, Error> {
        let path = workspace.working_dir().join(path);
        let (exists, folder, rest) = real_place(workspace, &path).await?;
        let place = match Git::open(workspace, &folder).await? {
            Some(git) => {
                let prefix = git.prefix().await?;
                prefix.map(|prefix| (git, PathBuf::from(OsString::from_vec(prefix)).join(rest)))
            }
            None => None,
        };
        Ok(Self { path, exists, place })
    }

    /// The file's text in a commit or tree.
    async fn at(&self, commit: &str) -> Result<Option<String>, Error> {
        let Some((git, below)) = &self.place else { return Ok(None) };
        let mut object = OsString::from(format!("{commit}:"));
        object.push(below);
        match git.run_limited(&["cat-file".into(), "blob".into(), object], MAX_DIFF_FILE).await {
            Ok(output) => Ok(output.success.then(|| lines(&output.stdout))),
            Err(Error::TooMuchOutput { .. }) => Err(self.too_large()),
            Err(error) => Err(error),
        }
    }

    /// The file's text now.
    async fn now(&self, workspace: &dyn Workspace) -> Result<Option<String>, Error> {
        if !self.exists {
            return Ok(None);
        }
        let (_, reader) = workspace.read(&self.path, 0).await?;
        let mut bytes = Vec::new();
        let failed = |cause| crate::Error::at("read", &self.path, cause);
        reader.take(MAX_DIFF_FILE as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
        if bytes.len() > MAX_DIFF_FILE { Err(self.too_large()) } else { Ok(Some(lines(&bytes))) }
    }

    fn missing(&self) -> Error {
        Error::Missing { path: self.path.clone() }
    }

    fn too_large(&self) -> Error {
        Error::TooLarge { path: self.path.clone() }
    }
}

/// Whether something is at `path`, the real path of the folder that it is in, or of the nearest one above that is still
/// there, and the rest of the path.
async fn real_place(workspace: &dyn Workspace, path: &Path) -> Result<(bool, PathBuf, PathBuf), Error> {
    let mut missing: Vec<&OsStr> = Vec::new();
    let mut nearest = path;
    loop {
        match workspace.canonicalize(nearest).await {
            Ok(real) if missing.is_empty() => {
                let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
                    return Err(crate::Error::IsADirectory { path: real }.into());
                };
                return Ok((true, folder.to_owned(), name.into()));
            }
            Ok(real) => return Ok((false, real, missing.iter().rev().collect())),
            Err(crate::Error::NotFound { .. } | crate::Error::NotADirectory { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (Some(parent), Some(name)) = (nearest.parent(), nearest.file_name()) else {
            return Err(Error::Missing { path: path.to_owned() });
        };
        missing.push(name);
        nearest = parent;
    }
}

/// A text's lines, without the line feed at its end. Bytes that are no text are replaced.
fn lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_feed_goes() {
        assert_eq!(lines(b"a\r\nb\rc\n\n"), "a\nb\nc\n");
        assert_eq!(lines(b" a "), " a ");
        assert_eq!(lines(b""), "");
    }
}
