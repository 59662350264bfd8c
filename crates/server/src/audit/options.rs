//! What the operator decides about the audit log.

use std::time::Duration;

/// What the operator decides about the audit log.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Whether there is one.
    pub enabled: bool,
    /// Whether the text of commands is in it, up to 1 KiB; it may hold secrets. Otherwise it has their hash and length.
    pub commands: bool,
    /// Whether requests that change something are refused while it cannot be written.
    pub required: bool,
    /// How long records are kept; none for ever.
    pub retention: Option<Duration>,
    /// Refusals of one address that are logged in a minute; more are counted.
    pub refusals: u32,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            commands: false,
            required: false,
            retention: Some(Duration::from_hours(365 * 24)),
            refusals: 30,
        }
    }
}
