//! What a box is made from, with nothing left open.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// What a box is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// For Docker an image; for bubblewrap a name among the operator's root file systems. None: the backend's own choice.
    pub image: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// What it can reach.
    pub network: Network,
    /// Variables that every process in it gets.
    pub env: BTreeMap<String, String>,
    /// The folder that commands start in: an absolute path in the box.
    pub working_dir: PathBuf,
    /// Folders of this machine that it sees.
    pub volumes: Vec<Volume>,
    /// The longest time that one command may take.
    pub timeout: Option<Duration>,
}

/// What a box may use; nothing means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// Bytes on disk.
    pub disk: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// What a box can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    Closed,
    /// Only what the server's proxy lets through: the box has no route, and the proxy's address is in its variables.
    Proxied,
    /// Every public address, over a network of the backend's own: only for a backend that [has one](crate::Backend::has_bridge).
    Bridge,
}

/// A folder of this machine that a box sees. Only the operator can ask for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// On this machine: an absolute path.
    pub host: PathBuf,
    /// In the box: an absolute path.
    pub path: PathBuf,
    /// Whether the box may only read it.
    pub read_only: bool,
}
