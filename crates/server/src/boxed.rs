//! Boxes as the places that conversations and requests act in.

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use longshore_engine::Opened;
use longshore_protocol::{ConversationId, conversation::LocalWorkspace, sandbox::SandboxOptions};
use longshore_sandbox::{Error as SandboxError, Sandboxes};
use longshore_store::{At, Owner, Store};
use longshore_workspace::{Error, Workspace};
use parking_lot::RwLock;
use uuid::Uuid;

use crate::{Principal, Workspaces};

/// Decides what users' workspaces are made from where the users say nothing.
#[async_trait]
pub trait WorkspaceFactory: Send + Sync {
    /// What a workspace of `user` is made from; what is left out is the operator's default, which is also the most that
    /// there may be.
    ///
    /// # Errors
    /// Why it is not known now, in words for the user.
    async fn options(&self, user: &Owner) -> Result<SandboxOptions, String>;
}

/// A function of the user will do, where nothing has to be waited for.
#[async_trait]
impl<F: Fn(&Owner) -> SandboxOptions + Send + Sync> WorkspaceFactory for F {
    async fn options(&self, user: &Owner) -> Result<SandboxOptions, String> {
        Ok(self(user))
    }
}

/// What is stored with the user.
#[derive(Debug)]
pub struct StoredOptions(pub Arc<dyn Store>);

#[async_trait]
impl WorkspaceFactory for StoredOptions {
    async fn options(&self, user: &Owner) -> Result<SandboxOptions, String> {
        let Ok(name) = user.0.parse() else { return Ok(SandboxOptions::default()) };
        let user = self.0.user(&name).await.map_err(|error| error.to_string())?;
        Ok(user.and_then(|user| user.options.sandbox).unwrap_or_default())
    }
}

/// Gives every user a box, and every conversation that of its user, one of its own, or a workspace that the user made.
#[derive(Clone)]
pub struct SandboxPlaces {
    sandboxes: Sandboxes,
    store: Arc<dyn Store>,
    /// Shared by all clones: the engine has one.
    factory: Arc<RwLock<Arc<dyn WorkspaceFactory>>>,
}

impl fmt::Debug for SandboxPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxPlaces").field("sandboxes", &self.sandboxes).finish_non_exhaustive()
    }
}

impl SandboxPlaces {
    /// Places in `sandboxes`. `store` has the workspaces that users made, and what places are made from.
    pub fn new(sandboxes: Sandboxes, store: Arc<dyn Store>) -> Self {
        let factory: Arc<dyn WorkspaceFactory> = Arc::new(StoredOptions(Arc::clone(&store)));
        Self { sandboxes, store, factory: Arc::new(RwLock::new(factory)) }
    }

    /// Lets `factory` decide what places are made from that are made from now on.
    pub fn decide_by(&self, factory: Arc<dyn WorkspaceFactory>) {
        *self.factory.write() = factory;
    }

    /// What a place of `user` is made from that is wished for like this.
    async fn options(&self, user: &Owner, wish: Option<&SandboxOptions>) -> Result<SandboxOptions, String> {
        let factory = Arc::clone(&self.factory.read());
        let options = factory.options(user).await?;
        Ok(wish.cloned().unwrap_or_default().or(&options))
    }

    /// The options of the place that a conversation is in.
    async fn options_at(&self, owner: &Owner, workspace: &LocalWorkspace) -> Result<SandboxOptions, String> {
        match workspace.workspace_id {
            Some(id) => Ok(self.made(owner, id).await?.options),
            None => self.options(owner, workspace.sandbox.as_ref()).await,
        }
    }

    /// A workspace that the user made.
    async fn made(&self, owner: &Owner, id: Uuid) -> Result<longshore_store::WorkspaceRow, String> {
        let row = self.store.workspace(owner, id).await.map_err(|error| error.to_string())?;
        row.ok_or_else(|| format!("there is no workspace {id}"))
    }
}

/// The id of the workspace that every user has.
pub fn own_workspace_id(user: &Owner) -> Uuid {
    /// Drawn once; with another the ids would be others.
    const NAMESPACE: Uuid = Uuid::from_u128(0x6b1d_9f3e_52c4_4a7e_9d0b_7c1f_3a88_e254);
    Uuid::new_v5(&NAMESPACE, user.0.as_bytes())
}

#[async_trait]
impl longshore_engine::Workspaces for SandboxPlaces {
    async fn resolve(&self, owner: &Owner, mut workspace: LocalWorkspace) -> Result<LocalWorkspace, String> {
        if workspace.workspace_id == Some(own_workspace_id(owner)) {
            workspace.workspace_id = None;
        }
        let options = self.options_at(owner, &workspace).await?;
        let resolve = || {
            let folder = self.sandboxes.folder(&options, &workspace.working_dir)?;
            self.sandboxes.check(&options)?;
            folder.into_os_string().into_string().map_err(|_| {
                let reason = "working_dir must be UTF-8 text: the server's own folder is not, so give an absolute path";
                SandboxError::Invalid(reason.to_owned())
            })
        };
        let working_dir = resolve().map_err(|error| error.to_string())?;
        Ok(LocalWorkspace { working_dir, ..workspace })
    }

    fn workspace_id(&self, owner: &Owner, workspace: &LocalWorkspace) -> Option<Uuid> {
        let own = || (!self.sandboxes.has_own(workspace)).then(|| own_workspace_id(owner));
        workspace.workspace_id.or_else(own)
    }

    async fn open(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        workspace: &LocalWorkspace,
    ) -> Result<Opened, Error> {
        let at = self.sandboxes.at(workspace, conversation);
        let is_deleted = match workspace.workspace_id {
            Some(id) => self.store.workspace(owner, id).await.map_err(unusable)?.is_none(),
            None => false,
        };
        let options = if is_deleted {
            SandboxOptions::default()
        } else {
            self.options_at(owner, workspace).await.map_err(unusable)?
        };
        let place = self.sandboxes.place(owner, at, &options, Path::new(&workspace.working_dir)).map_err(unusable)?;
        if is_deleted {
            // The conversation can still be read; whoever works there is told.
            self.sandboxes.forget(owner, at).await.map_err(unusable)?;
        }
        let tools_dir = place.tools_dir();
        // Nothing happens to a place without isolation.
        let news = tools_dir.is_some().then(|| self.sandboxes.watch(&place));
        Ok(Opened { workspace: Arc::new(place), tools_dir, news })
    }

    async fn forget(&self, owner: &Owner, conversation: ConversationId) {
        if let Err(error) = self.sandboxes.forget(owner, At::Conversation(conversation)).await {
            tracing::warn!(conversation.id = %conversation, %error, "the box of a deleted conversation stays for now");
        }
    }
}

#[async_trait]
impl Workspaces for SandboxPlaces {
    async fn workspace(&self, principal: &Principal) -> Result<Arc<dyn Workspace>, Error> {
        let owner = principal.user();
        let place = match self.at(principal) {
            At::Workspace(id) => {
                let made = self.made(owner, id).await.map_err(unusable)?;
                self.sandboxes.place(owner, At::Workspace(id), &made.options, Path::new(&made.working_dir))
            }
            _ => self.sandboxes.user_place(owner, &self.options(owner, None).await.map_err(unusable)?),
        };
        Ok(Arc::new(place.map_err(unusable)?))
    }

    fn at(&self, principal: &Principal) -> At {
        let bound = principal.workspace().filter(|id| *id != own_workspace_id(principal.user()));
        bound.map_or(At::Own, At::Workspace)
    }

    async fn wished(&self, user: &Owner, wish: SandboxOptions) -> Result<SandboxOptions, String> {
        self.options(user, Some(&wish)).await
    }

    fn sandboxes(&self) -> Option<Sandboxes> {
        Some(self.sandboxes.clone())
    }
}

fn unusable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Io { what: "use the workspace".to_owned(), cause: std::io::Error::other(cause) }
}
