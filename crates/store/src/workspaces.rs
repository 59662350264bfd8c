//! Workspaces that users made.

use async_trait::async_trait;
use longshore_protocol::{UtcTime, sandbox::SandboxOptions};
use uuid::Uuid;

use crate::{Error, Owner, Page};

/// Workspaces that users made, besides the one that each has anyway.
#[async_trait]
pub trait WorkspaceRows {
    /// Adds a workspace unless its owner has `most` already, or its id is taken; false then.
    ///
    /// # Errors
    /// [`Error`].
    async fn create_workspace(&self, workspace: WorkspaceRow, most: u64) -> Result<bool, Error>;

    /// A workspace of `owner`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn workspace(&self, owner: &Owner, id: Uuid) -> Result<Option<WorkspaceRow>, Error>;

    /// A page of the workspaces of `owner`, oldest first, from the one with the id `from` on.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn workspaces(&self, owner: &Owner, from: Option<Uuid>, limit: usize) -> Result<Page<WorkspaceRow>, Error>;

    /// Changes what the boxes of a workspace are made from; false if there is no such workspace.
    ///
    /// # Errors
    /// [`Error`].
    async fn set_workspace_options(&self, owner: &Owner, id: Uuid, options: SandboxOptions) -> Result<bool, Error>;

    /// Removes a workspace; false if there was none. Conversations in it stay.
    ///
    /// # Errors
    /// [`Error`].
    async fn delete_workspace(&self, owner: &Owner, id: Uuid) -> Result<bool, Error>;
}

/// A stored workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceRow {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub owner: Owner,
    /// When it was made.
    pub created_at: UtcTime,
    /// The folder that commands start in.
    pub working_dir: String,
    /// What its box is made from. Variables are encrypted at rest.
    pub options: SandboxOptions,
}
