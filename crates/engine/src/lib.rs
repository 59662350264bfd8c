//! One task per conversation.
//!
//! [`Engine`] is what the server and the command line use. Behind it every conversation that somebody works with has one
//! task, which owns its [`Machine`](longshore_agent::Machine): it takes wishes from a mailbox, commits what the machine
//! decides and starts model calls and tools beside itself. So a wish is answered at once whatever a tool is doing, and
//! nobody hears of an event before it is stored. Conversations that nobody works with are rows and nothing else.
//!
//! The crate knows nothing of HTTP.

mod actor;
pub mod bash;
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
mod shared;
mod subscription;
mod toolbox;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
pub use clock::Clock;
pub use conversations::Engine;
pub use create::Made;
pub use error::Error;
pub use feed::Closed;
pub use info::{Info, Skills};
use longshore_llm::Models;
use longshore_protocol::{ConversationId, conversation::LocalWorkspace};
use longshore_store::{Owner, Store};
use longshore_tools::Registry;
use longshore_workspace::Workspace;
pub use subscription::{Replay, Subscription};

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
    pub http: reqwest::Client,
    /// Where time and ids come from.
    pub clock: Clock,
}

/// How an engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where conversations keep outputs that were cut and task lists: an absolute folder.
    pub conversations_dir: PathBuf,
    /// How many conversations may run at the same time.
    pub max_concurrent_runs: usize,
    /// How long a conversation that nobody uses stays in memory.
    pub idle_ttl: Duration,
}

/// Makes the places that conversations work in.
#[async_trait]
pub trait Workspaces: fmt::Debug + Send + Sync {
    /// The place of a conversation. Called once for each time that the conversation is loaded.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        workspace: &LocalWorkspace,
    ) -> Result<Arc<dyn Workspace>, longshore_workspace::Error>;
}
