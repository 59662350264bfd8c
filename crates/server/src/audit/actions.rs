//! What agents do.

use jiff::Timestamp;
use longshore_engine::ActionLog;
use longshore_protocol::{ConversationId, UtcTime};
use longshore_store::{AuditEntry, Owner};

use super::{Recorder, names};

impl ActionLog for Recorder {
    fn acted(&self, owner: &Owner, conversation: ConversationId, tool: &str) {
        if !self.is_enabled() {
            return;
        }
        let mut entry = AuditEntry::new(UtcTime(Timestamp::now()), names::AGENT);
        entry.actor = Some(owner.0.to_string());
        entry.owner = Some(owner.0.to_string());
        entry.target_kind = Some("conversation".to_owned());
        entry.target = Some(conversation.to_string());
        entry.details.insert("tool".to_owned(), tool.into());
        self.record_later(entry);
    }
}
