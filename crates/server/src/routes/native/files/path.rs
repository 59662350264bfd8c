//! The path of a file in the path of a request.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use axum::{extract::FromRequestParts, http::request::Parts};
use longshore_workspace::Workspace;
use percent_encoding::percent_decode_str;

use super::super::here::Here;
use crate::{ApiError, Place, Principal, state::AppState};

/// Bytes that a path may have.
const MAX_PATH: usize = 4096;

/// What a client hears whose path leads out of the folder.
const OUTSIDE: &str = "The path leads out of the workspace's folder.";

/// A path that a client named in a workspace. It may be any bytes, so it is read where it stands.
pub(super) struct InFolder {
    place: Place,
    /// Below the workspace's folder, without `..`; empty for the folder itself.
    pub(super) relative: PathBuf,
    /// Whether there was a slash at the end.
    pub(super) is_folder: bool,
}

impl FromRequestParts<AppState> for InFolder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, state).await?;
        // The framework's own parameters are UTF-8 all of them.
        let mut segments = parts.uri.path().splitn(5, '/').skip(2);
        let id = segments.next().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| ApiError::unprocessable("workspace_id must be a UUID."))?;
        let here = Here::find(state, principal, id).await?;
        let path = segments.nth(1).unwrap_or_default();
        let relative = relative(path)?;
        let place = Place { workspace: here.workspace(state).await?, scope: here.scope(), is_confined: true };
        Ok(Self { place, relative, is_folder: path.ends_with('/') })
    }
}

impl InFolder {
    /// The workspace.
    pub(super) fn workspace(&self) -> &Arc<dyn Workspace> {
        &self.place.workspace
    }

    /// The real path, symbolic links followed.
    ///
    /// # Errors
    /// 422 if it is outside of the folder.
    pub(super) async fn real(&self) -> Result<PathBuf, ApiError> {
        self.within(&self.relative).await
    }

    /// The real path of what has this name, whatever it is: a symbolic link is not followed.
    ///
    /// # Errors
    /// 422 if it is outside of the folder, or the folder itself.
    pub(super) async fn entry(&self) -> Result<PathBuf, ApiError> {
        let (Some(parent), Some(name)) = (self.relative.parent(), self.relative.file_name()) else {
            return Err(ApiError::unprocessable("The workspace's folder itself stays: name something in it."));
        };
        Ok(self.within(parent).await?.join(name))
    }

    async fn within(&self, relative: &Path) -> Result<PathBuf, ApiError> {
        self.place.inside(self.workspace().working_dir().join(relative), OUTSIDE).await
    }
}

/// What follows `/files/` in a request, as a path below a folder.
fn relative(path: &str) -> Result<PathBuf, ApiError> {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    if bytes.len() > MAX_PATH || bytes.contains(&0) {
        let sentence = format!("A path has {MAX_PATH} bytes at most, and no zero byte.");
        return Err(ApiError::unprocessable(sentence));
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::CurDir => {}
            _ => {
                return Err(ApiError::unprocessable(
                    "A path begins below the workspace's folder and has no '..' in it.",
                ));
            }
        }
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn paths_stay_below_and_may_be_any_bytes() {
        for (path, expected) in [("", ""), ("a/b", "a/b"), ("a//./b/", "a/b"), ("a%20b%2fc", "a b/c"), ("...", "...")] {
            assert_eq!(relative(path).unwrap().to_str(), Some(expected), "{path}");
        }
        assert_eq!(relative("%ff").unwrap().as_os_str().as_encoded_bytes(), b"\xff");
        for path in ["..", "a/../b", "%2e%2e/x", "a/%2e%2e", "/etc", "%2fetc", "a%00b", &"a".repeat(4097)] {
            relative(path).unwrap_err();
        }
    }
}
