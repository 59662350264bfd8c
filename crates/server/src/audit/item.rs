//! Records as they are shown.

use longshore_protocol::UtcTime;
use longshore_store::AuditRecord;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Something that somebody did, as it is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuditItem {
    /// Its position in the log: 1 for the first.
    pub seq: u64,
    /// When it was done.
    pub at: UtcTime,
    /// The user who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The id of the key that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The network address it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The id of the request, as in `X-Request-ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What was done.
    pub action: String,
    /// What kind of thing it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kind: Option<String>,
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The user whose thing that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How it ended, as an HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What else is to be known.
    pub details: Map<String, Value>,
    /// The hash of the record before, in hexadecimal digits.
    pub previous: String,
    /// Its hash.
    pub hash: String,
}

impl From<AuditRecord> for AuditItem {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { seq, entry, previous, hash } = record;
        Self {
            seq,
            at: entry.at,
            actor: entry.actor,
            key: entry.key,
            address: entry.address,
            request: entry.request,
            action: entry.action,
            target_kind: entry.target_kind,
            target: entry.target,
            owner: entry.owner,
            status: entry.status,
            details: entry.details,
            previous: previous.to_string(),
            hash: hash.to_string(),
        }
    }
}
