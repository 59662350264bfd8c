//! Commands run over the API (contract: server §6.1).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{kinds::kinds, time::UtcTime};

/// Body of `POST /api/bash/start_bash_command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecuteBash {
    /// Text for `/bin/sh -c`.
    pub command: String,
    /// An absolute folder; the server's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Seconds after which the command is ended.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
}

fn default_timeout() -> u64 {
    300
}

/// A command that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BashCommand {
    /// Text for `/bin/sh -c`.
    pub command: String,
    /// The folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Seconds after which the command is ended.
    pub timeout: u64,
    /// 32 hexadecimal digits.
    pub id: String,
    /// When it was started.
    pub timestamp: UtcTime,
}

/// Some output of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BashOutput {
    /// 32 hexadecimal digits.
    pub id: String,
    /// When it was read.
    pub timestamp: UtcTime,
    /// The command.
    pub command_id: String,
    /// The position among the command's outputs, from 0.
    pub order: u64,
    /// How the command ended; only on the last output. −n for signal n, −1 at the time limit or if it did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Standard output; null for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Standard error; null for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

/// What a client sent over the bash socket was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BashError {
    /// 32 hexadecimal digits.
    pub id: String,
    /// When.
    pub timestamp: UtcTime,
    /// Which mistake it is.
    pub code: String,
    /// What to do about it.
    pub detail: String,
}

kinds! {
    /// What happened to commands. Null fields are written.
    pub enum BashEvent { BashCommand, BashOutput, BashError }
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BashEventPage {
    /// The events.
    pub items: Vec<BashEvent>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_id: Option<String>,
}

/// Answer of `DELETE /api/bash/bash_events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BashCleared {
    /// How many events are gone.
    pub cleared_count: u64,
}
