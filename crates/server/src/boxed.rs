//! Boxes as the places that conversations and requests act in.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use longshore_engine::Opened;
use longshore_protocol::{ConversationId, conversation::LocalWorkspace, sandbox::SandboxOptions};
use longshore_sandbox::{Error as SandboxError, Sandboxes};
use longshore_store::Owner;
use longshore_workspace::{Error, Workspace};

use crate::{Principal, Workspaces};

/// Gives every user a box, and every conversation that of its user or one of its own.
#[derive(Debug, Clone)]
pub struct SandboxPlaces {
    sandboxes: Sandboxes,
}

impl SandboxPlaces {
    /// Places in `sandboxes`.
    pub fn new(sandboxes: Sandboxes) -> Self {
        Self { sandboxes }
    }
}

#[async_trait]
impl longshore_engine::Workspaces for SandboxPlaces {
    fn resolve(&self, workspace: LocalWorkspace) -> Result<LocalWorkspace, String> {
        let none = SandboxOptions::default();
        let wish = workspace.sandbox.as_ref().unwrap_or(&none);
        let resolve = || {
            let folder = self.sandboxes.folder(wish, &workspace.working_dir)?;
            self.sandboxes.check(wish)?;
            folder.into_os_string().into_string().map_err(|_| {
                let reason = "working_dir must be UTF-8 text: the server's own folder is not, so give an absolute path";
                SandboxError::Invalid(reason.to_owned())
            })
        };
        let working_dir = resolve().map_err(|error| error.to_string())?;
        Ok(LocalWorkspace { working_dir, ..workspace })
    }

    async fn open(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        workspace: &LocalWorkspace,
    ) -> Result<Opened, Error> {
        let own = self.sandboxes.has_own(workspace).then_some(conversation);
        let none = SandboxOptions::default();
        let wish = workspace.sandbox.as_ref().unwrap_or(&none);
        let place = self.sandboxes.place(owner, own, wish, Path::new(&workspace.working_dir)).map_err(refused)?;
        let tools_dir = place.tools_dir();
        // Nothing happens to a place without isolation.
        let news = tools_dir.is_some().then(|| self.sandboxes.watch(&place));
        Ok(Opened { workspace: Arc::new(place), tools_dir, news })
    }

    async fn forget(&self, owner: &Owner, conversation: ConversationId) {
        if let Err(error) = self.sandboxes.forget(owner, conversation).await {
            tracing::warn!(conversation.id = %conversation, %error, "the box of a deleted conversation stays for now");
        }
    }
}

#[async_trait]
impl Workspaces for SandboxPlaces {
    async fn workspace(&self, principal: &Principal) -> Result<Arc<dyn Workspace>, Error> {
        Ok(Arc::new(self.sandboxes.user_place(principal.user()).map_err(refused)?))
    }

    fn sandboxes(&self) -> Option<Sandboxes> {
        Some(self.sandboxes.clone())
    }
}

fn refused(error: SandboxError) -> Error {
    Error::Io { what: "use the workspace".to_owned(), cause: std::io::Error::other(error) }
}
