//! Where a request acts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use axum::{extract::FromRequestParts, http::request::Parts};
use longshore_engine::bash::Scope;
use longshore_protocol::{ConversationId, sandbox::SandboxOptions};
use longshore_sandbox::Sandboxes;
use longshore_store::{At, Owner};
use longshore_workspace::Workspace;
use serde::Deserialize;

use crate::{ApiError, Principal, extract::ApiPath, state::AppState};

/// Gives each principal the workspace that the routes outside any conversation act in.
#[async_trait]
pub trait Workspaces: std::fmt::Debug + Send + Sync {
    /// The workspace of `principal`.
    ///
    /// # Errors
    /// Those of [`longshore_workspace`].
    async fn workspace(&self, principal: &Principal) -> Result<Arc<dyn Workspace>, longshore_workspace::Error>;

    /// Which of the user's places that is.
    fn at(&self, _principal: &Principal) -> At {
        At::Own
    }

    /// What a workspace of `user` is made from that is wished for like this: the user's own options where the wish has none.
    ///
    /// # Errors
    /// Why they are not known now, in words for the user.
    async fn wished(&self, _user: &Owner, wish: SandboxOptions) -> Result<SandboxOptions, String> {
        Ok(wish)
    }

    /// The boxes behind the workspaces, if they are in boxes.
    fn sandboxes(&self) -> Option<Sandboxes> {
        None
    }
}

/// Where a request acts: a workspace, whose commands are meant, and how far paths may reach.
#[derive(Debug, Clone)]
pub struct Place {
    /// The workspace.
    pub workspace: Arc<dyn Workspace>,
    /// Whose commands.
    pub scope: Scope,
    /// Whether paths must be inside the workspace's folder, as they must be below a conversation.
    pub is_confined: bool,
}

impl Place {
    /// A path that the client named, or why it may not: it must be absolute, and inside the folder if the place is
    /// confined.
    pub(crate) async fn path(&self, path: PathBuf) -> Result<PathBuf, ApiError> {
        if self.is_confined {
            return self.inside(path, "path must be inside the conversation workspace").await;
        }
        if !path.is_absolute() {
            return Err(ApiError::bad_request("Path must be absolute"));
        }
        Ok(path)
    }

    /// The folder that a command starts in.
    pub(crate) async fn folder(&self, folder: Option<String>) -> Result<Option<String>, ApiError> {
        match folder {
            None if self.is_confined => Ok(self.workspace.working_dir().to_str().map(str::to_owned)),
            Some(folder) if self.is_confined => {
                self.inside(folder.clone().into(), "cwd must be inside the conversation workspace").await?;
                Ok(Some(folder))
            }
            folder => Ok(folder),
        }
    }

    /// The path itself if it is absolute and leads to a place in the workspace's folder, symbolic links followed.
    pub(crate) async fn inside(&self, path: PathBuf, refusal: &str) -> Result<PathBuf, ApiError> {
        let refuse = || ApiError::unprocessable(refusal);
        if !path.is_absolute() {
            return Err(refuse());
        }
        let root = self.workspace.canonicalize(self.workspace.working_dir()).await.map_err(|_| refuse())?;
        let real = real_path(&*self.workspace, &path).await.ok_or_else(refuse)?;
        if real.starts_with(root) { Ok(real) } else { Err(refuse()) }
    }
}

/// The real path of what exists of `path`, with the rest appended. None for a rest with `..`, whose meaning is unknown.
async fn real_path(workspace: &dyn Workspace, path: &Path) -> Option<PathBuf> {
    let mut existing = path;
    let mut missing = Vec::new();
    loop {
        match workspace.canonicalize(existing).await {
            Ok(real) => return Some(missing.into_iter().rev().fold(real, |path, name| path.join(name))),
            Err(longshore_workspace::Error::NotFound { .. } | longshore_workspace::Error::NotADirectory { .. }) => {
                // A dangling symbolic link has no real path, but its name exists: it would be followed on writing.
                if is_listed(workspace, existing).await {
                    return None;
                }
                missing.push(existing.file_name()?);
                existing = existing.parent()?;
            }
            Err(_) => return None,
        }
    }
}

async fn is_listed(workspace: &dyn Workspace, path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    workspace.list(folder).await.is_ok_and(|entries| entries.iter().any(|entry| entry.name == name))
}

/// The place of the conversation in the path; outside any conversation, the server's own.
impl FromRequestParts<AppState> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let ApiPath(InConversation { conversation_id }) = ApiPath::from_request_parts(parts, state).await?;
        match conversation_id {
            Some(id) => Self::of_conversation(&principal, state, id).await,
            None => Self::of(&principal, state).await,
        }
    }
}

#[derive(Deserialize)]
struct InConversation {
    #[serde(default)]
    conversation_id: Option<ConversationId>,
}

impl Place {
    /// The place of the routes outside any conversation.
    pub(crate) async fn of(principal: &Principal, state: &AppState) -> Result<Self, ApiError> {
        let workspace = state.workspaces().workspace(principal).await;
        let workspace =
            workspace.map_err(|error| ApiError::conflict(format!("The workspace cannot be used: {error}")))?;
        let scope = Scope { owner: principal.user().clone(), at: state.workspaces().at(principal) };
        Ok(Self { workspace, scope, is_confined: false })
    }

    async fn of_conversation(principal: &Principal, state: &AppState, id: ConversationId) -> Result<Self, ApiError> {
        let workspace = state.engine().workspace(principal.user(), id).await?;
        let scope = Scope { owner: principal.user().clone(), at: At::Conversation(id) };
        Ok(Self { workspace, scope, is_confined: true })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use longshore_workspace::{Local, LocalOptions};

    use super::*;

    #[tokio::test]
    async fn a_confined_place_is_not_left_by_any_path() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let work = root.join("work");
        std::fs::create_dir_all(work.join("sub")).unwrap();
        std::fs::create_dir(root.join("workshop")).unwrap();
        symlink("/etc", work.join("outside")).unwrap();
        symlink(root.join("not-yet"), work.join("dangling")).unwrap();
        symlink(work.join("sub"), root.join("way-in")).unwrap();
        let workspace = Arc::new(Local::new(LocalOptions::new(&work)).unwrap());
        let scope = Scope { owner: Owner("o".into()), at: At::Own };
        let place = Place { workspace, scope, is_confined: true };
        let inside = async |path: PathBuf| place.path(path).await.is_ok();
        for path in ["", "sub", "sub/.", "sub/../sub", "new/deep/file", "sub/file"] {
            assert!(inside(work.join(path)).await, "{path}");
        }
        assert!(inside(root.join("way-in/file")).await);
        for path in ["..", "../workshop", "sub/../../workshop", "outside", "outside/passwd", "dangling", "new/../../x"]
        {
            assert!(!inside(work.join(path)).await, "{path}");
        }
        for path in ["/", "/etc/passwd", "sub", "work/sub"] {
            assert!(!inside(path.into()).await, "{path}");
        }
        assert_eq!(place.folder(None).await.unwrap().as_deref(), work.to_str());
        place.folder(Some("/etc".to_owned())).await.unwrap_err();
    }
}
