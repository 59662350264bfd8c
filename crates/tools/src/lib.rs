//! The agent's tools over a [`Workspace`](longshore_workspace::Workspace).
//!
//! A tool says what it is ([`Tool::definition`], [`Tool::schema`]), what it must not share ([`Tool::resource`]) and does
//! what an action asks ([`Tool::run`]). [`Registry`] makes tools by the names that agents use.
//!
//! The crate knows nothing of the HTTP API or storage. `finish` and `think` act on the conversation itself and are
//! therefore with the agent.

mod file_editor;
mod files;
mod registry;
mod schema;
mod task_tracker;
mod terminal;
mod truncate;

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use indexmap::IndexMap;
use longshore_protocol::{
    Action, Observation, Secret,
    tool::{ToolDefinition, ToolSchema},
};
use longshore_workspace::Workspace;
pub use registry::{Registry, UnknownTool, usual_agent};
use tokio_util::sync::CancellationToken;

/// Something an agent can do.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync {
    /// The tool as clients see it.
    fn definition(&self) -> ToolDefinition;

    /// The tool as the model sees it; the agent adds what all tools have.
    fn schema(&self) -> ToolSchema;

    /// What two actions must not use at the same time: actions with equal keys run one after the other.
    /// `None` for an action that disturbs no other.
    fn resource(&self, action: &Action) -> Option<String>;

    /// Does what `action` asks.
    ///
    /// When `call.cancel` fires the tool stops what it started and returns soon; its answer is then discarded.
    ///
    /// # Errors
    /// [`Error`]: the model reads its text.
    async fn run(&self, action: Action, call: Call) -> Result<Observation, Error>;

    /// Ends what the tool keeps running between calls.
    async fn close(&self) {}

    /// Lets go of what the tool keeps running between calls, because this process ends and the place goes on. A call that
    /// is under way is broken off.
    async fn leave(&self) {
        self.close().await;
    }
}

/// What a tool gets with an action.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Fires when nobody waits for the answer any more.
    pub cancel: CancellationToken,
    /// Secrets that the action names, to be set as environment variables.
    pub secrets: IndexMap<String, Secret>,
}

/// What a tool is made with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where the agent works.
    pub workspace: Arc<dyn Workspace>,
    /// Where outputs that were cut and task lists are kept: an absolute folder in the workspace, made when needed.
    pub persistence_dir: PathBuf,
}

/// Why a tool could not do what it was asked. The text is for the model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense; another call may work.
    #[error("{0}")]
    Invalid(String),
    /// The tool itself failed.
    #[error("{0}")]
    Failed(String),
}
