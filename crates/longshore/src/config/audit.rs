//! `[audit]`.

use std::time::Duration;

use anyhow::{Result, bail};
use longshore_server::AuditOptions;
use schemars::JsonSchema;
use serde::Deserialize;

/// Days that records may be kept at most, if not for ever.
const MAX_DAYS: u64 = 36_500;

/// The log of who did what. `longshore audit` reads and checks it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Audit {
    /// Whether there is one.
    enabled: bool,
    /// Whether the text of commands is in it, up to 1 KiB: it may hold secrets. Otherwise it has their hash and length.
    commands: bool,
    /// Whether requests that change something are refused with 503 while it cannot be written.
    required: bool,
    /// Days after which records are removed; 0 for never.
    retention_days: u64,
    /// Refused requests of one address that are logged in a minute; more are counted and summed up in one record.
    refusals_per_minute: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { enabled: true, commands: false, required: false, retention_days: 365, refusals_per_minute: 30 }
    }
}

impl Audit {
    /// What the server is told.
    pub(crate) fn options(&self) -> Result<AuditOptions> {
        if self.required && !self.enabled {
            bail!("[audit]: required = true needs enabled = true");
        }
        if self.retention_days > MAX_DAYS {
            bail!("[audit]: retention_days is {MAX_DAYS} at most, or 0 for never");
        }
        Ok(AuditOptions {
            enabled: self.enabled,
            commands: self.commands,
            required: self.required,
            retention: (self.retention_days > 0).then(|| Duration::from_hours(self.retention_days * 24)),
            refusals: self.refusals_per_minute,
        })
    }
}
