//! One task per conversation.
//!
//! [`Engine`] is what the server and the command line use. Behind it every conversation that somebody works with has one
//! task, which owns its [`Machine`](longshore_agent::Machine): it takes wishes from a mailbox, commits what the machine
//! decides and starts model calls and tools beside itself. So a wish is answered at once whatever a tool is doing, and
//! nobody hears of an event before it is stored. Conversations that nobody works with are rows and nothing else.
//!
//! The crate knows nothing of HTTP.

mod action_log;
mod actor;
pub mod bash;
mod budget;
mod clock;
mod conversations;
mod create;
mod error;
mod feed;
mod info;
mod infos;
mod jobs;
mod live;
mod lookup;
mod observer;
mod queue;
mod shared;
mod subscription;
mod toolbox;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

pub use action_log::ActionLog;
use async_trait::async_trait;
pub use budget::{Amount, Balance, Budgets, Limit, Limits, SameForAll, StoredBudgets, UnknownPrice};
pub use clock::Clock;
pub use conversations::Engine;
pub use create::Made;
pub use error::Error;
pub use feed::Closed;
pub use info::{Info, Skills};
use longshore_llm::Models;
use longshore_protocol::{ConversationId, conversation::LocalWorkspace, sandbox::SandboxEvent};
use longshore_store::{Owner, Store};
use longshore_tools::Registry;
use longshore_workspace::Workspace;
pub use observer::Observer;
pub use queue::{QueueLimits, Runs};
pub use subscription::{Replay, Subscription, Told};
use tokio::sync::broadcast;
use uuid::Uuid;

/// What an engine works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where everything durable is.
    pub store: Arc<dyn Store>,
    /// Models by their configuration.
    pub models: Models,
    /// Tools by name.
    pub tools: Registry,
    /// Places to work in.
    pub workspaces: Arc<dyn Workspaces>,
    /// The client for addresses that users name.
    pub http: longshore_outbound::Client,
    /// Where time and ids come from.
    pub clock: Clock,
    /// What each user may spend on models.
    pub budgets: Arc<dyn Budgets>,
}

/// How an engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where conversations keep outputs that were cut and task lists: an absolute folder.
    pub conversations_dir: PathBuf,
    /// How many conversations may run at the same time. The runs of more wait.
    pub max_concurrent_runs: usize,
    /// How many runs may wait, and how many of one owner may work.
    pub queue: QueueLimits,
    /// How long a conversation that nobody uses stays in memory.
    pub idle_ttl: Duration,
}

/// Makes the places that conversations work in.
#[async_trait]
pub trait Workspaces: fmt::Debug + Send + Sync {
    /// What a client asks for, with an absolute folder.
    ///
    /// # Errors
    /// Why there cannot be such a place, in words for the client.
    async fn resolve(&self, owner: &Owner, workspace: LocalWorkspace) -> Result<LocalWorkspace, String>;

    /// The id of the workspace that is meant by what [`Workspaces::resolve`] gave; none if the conversation has a place for
    /// itself.
    fn workspace_id(&self, _owner: &Owner, workspace: &LocalWorkspace) -> Option<Uuid> {
        workspace.workspace_id
    }

    /// The place of a conversation. Called once for each time that the conversation is loaded.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        workspace: &LocalWorkspace,
    ) -> Result<Opened, longshore_workspace::Error>;

    /// The conversation was deleted: a place that was its alone is needed no more.
    async fn forget(&self, _owner: &Owner, _conversation: ConversationId) {}
}

/// A place that a conversation works in.
#[derive(Debug)]
pub struct Opened {
    /// The place.
    pub workspace: Arc<dyn Workspace>,
    /// A folder of the place for what tools keep; none if that is [`Options::conversations_dir`].
    pub tools_dir: Option<PathBuf>,
    /// What happens to the place from now on.
    pub news: Option<broadcast::Receiver<SandboxEvent>>,
}

impl Opened {
    /// A place that is always there.
    pub fn here(workspace: Arc<dyn Workspace>) -> Self {
        Self { workspace, tools_dir: None, news: None }
    }

    /// Whether the place is made when it is first used.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.tools_dir.is_some()
    }

    pub(crate) fn tools_dir(&self, shared: &shared::Shared, conversation: ConversationId) -> PathBuf {
        let elsewhere = self.tools_dir.as_ref().map(|folder| folder.join(conversation.hex()));
        elsewhere.unwrap_or_else(|| shared.persistence_dir(conversation))
    }
}
