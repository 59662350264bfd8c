//! What the audit log is told of a change on the command line.

use jiff::Timestamp;
use longshore_protocol::{
    UtcTime,
    account::{ApiKey, UserName},
};
use longshore_store::AuditEntry;
use serde_json::{Map, Value};

/// A change that was made: under the names that the API has for it.
#[derive(Debug)]
pub(super) struct Change {
    action: &'static str,
    target: (&'static str, String),
    owner: String,
    details: Map<String, Value>,
}

impl Change {
    pub(super) fn of_user(action: &'static str, name: &UserName) -> Self {
        Self { action, target: ("user", name.to_string()), owner: name.to_string(), details: Map::new() }
    }

    pub(super) fn of_key(action: &'static str, key: &ApiKey) -> Self {
        Self { action, target: ("key", key.id.clone()), owner: key.user.to_string(), details: Map::new() }
    }

    /// With something else to be known.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The record: nobody showed a key, so the user of the operating system stands for whoever did it.
    pub(super) fn entry(self) -> AuditEntry {
        let mut entry = AuditEntry::new(UtcTime(Timestamp::now()), self.action);
        (entry.target_kind, entry.target) = (Some(self.target.0.to_owned()), Some(self.target.1));
        entry.owner = Some(self.owner);
        entry.details = self.details;
        entry.details.insert("command_line_uid".to_owned(), rustix::process::getuid().as_raw().into());
        entry
    }
}
