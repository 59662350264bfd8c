//! Who is told what agents do.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use longshore_protocol::ConversationId;
use longshore_store::Owner;

/// Is told of every action of every agent before a tool carries it out. Must not wait.
pub trait ActionLog: fmt::Debug + Send + Sync {
    /// The agent of this conversation uses this tool.
    fn acted(&self, owner: &Owner, conversation: ConversationId, tool: &str);
}

/// The log of an engine, which may come after the engine was made.
#[derive(Debug, Default)]
pub(crate) struct Actions(OnceLock<Arc<dyn ActionLog>>);

impl Actions {
    /// Tells `log` from now on; the first one stays.
    pub(crate) fn log_to(&self, log: Arc<dyn ActionLog>) {
        let _ = self.0.set(log);
    }

    pub(crate) fn tell(&self, owner: &Owner, conversation: ConversationId, tool: &str) {
        if let Some(log) = self.0.get() {
            log.acted(owner, conversation, tool);
        }
    }
}
