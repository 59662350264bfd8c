//! Facts about the server (contract: server §1.4).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `/alive` and `/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    /// `ok` or `ready`.
    pub status: String,
}

/// Answer of `/health`. The causes are in the log: everybody may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerHealth {
    /// `ok`, or `down` if the store or what makes the boxes is down.
    pub status: String,
    /// `ok` or `down`.
    pub store: String,
    /// The Docker engine: `connected`, `down`, or `unused` if no boxes are made by one.
    pub docker: String,
    /// Boxes that there are.
    pub workspaces: usize,
    /// Whole seconds since the start.
    pub uptime: u64,
}

/// Answer of `/server_info`. Null fields are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// Seconds since the start.
    pub uptime: f64,
    /// Seconds since somebody used the server.
    pub idle_time: f64,
    /// The server's name.
    pub title: String,
    /// The version of the protocol: clients compare it.
    pub version: String,
    /// As `version`.
    pub sdk_version: String,
    /// As `version`.
    pub tools_version: String,
    /// As `version`.
    pub workspace_version: String,
    /// The commit this server was built from.
    pub build_git_sha: String,
    /// The branch or tag this server was built from.
    pub build_git_ref: String,
    /// Empty: there is no Python.
    pub python_version: String,
    /// Tools that an agent may name.
    pub usable_tools: Vec<String>,
    /// Seconds of idleness after which an orchestrator stops this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_idle_timeout_seconds: Option<f64>,
    /// Where conversations run.
    pub conversation_runtime: String,
    /// Where else they can run.
    pub available_conversation_runtimes: Vec<String>,
    /// Features that clients look for.
    pub capabilities: Vec<String>,
    /// Always null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_backend_ingress_url: Option<String>,
    /// The longest time limit of a command in the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_foreground_terminal_timeout_seconds: Option<f64>,
    /// Where the documentation is.
    pub docs: String,
    /// Where the documentation is.
    pub redoc: String,
}

/// The protocol version that this server speaks.
pub const PROTOCOL_VERSION: &str = "1.58.2";
