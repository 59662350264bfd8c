//! What the operator decides about boxes.

use std::{path::PathBuf, time::Duration};

use longshore_protocol::sandbox::SandboxOptions;

use crate::Volume;

/// What the operator decides about boxes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What boxes are made from where users say nothing. What is set here is also the most that users may ask for: lower
    /// limits, fewer hosts.
    pub defaults: SandboxOptions,
    /// Whether each conversation has a box for itself, and not only those that ask for one.
    pub per_conversation: bool,
    /// The folder that commands start in that name none: in a box the user's own, without isolation one of this machine.
    pub working_dir: PathBuf,
    /// Folders of this machine that every box sees.
    pub volumes: Vec<Volume>,
    /// Private addresses that boxes may reach all the same: networks such as `10.1.2.0/24`.
    pub private_allowed: Vec<String>,
    /// How long a box and its files are kept without use; forever if not set.
    pub retention: Option<Duration>,
    /// What happens to boxes when the server stops.
    pub on_shutdown: OnShutdown,
    /// Boxes that are made at the same time; more wait.
    pub max_starting: usize,
    /// Boxes that there may be, pools aside; nobody gets one more.
    pub max_boxes: usize,
    /// Whether boxes that no row names are kept, stopped, until their retention ends: they may be somebody's whom a lost
    /// database knew. Otherwise they are removed.
    pub keeps_unknown: bool,
    /// Boxes that wait to be given out.
    pub pools: Vec<Pool>,
    /// How often deadlines, disks and memory are looked at.
    pub sweep_interval: Duration,
}

/// What happens to boxes when the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnShutdown {
    /// They go on; the next server finds them.
    Keep,
    /// Their processes end, their files stay.
    Stop,
    /// Nothing of them is left.
    Destroy,
}

/// Boxes of one kind that are made before anybody asks.
#[derive(Debug, Clone)]
pub struct Pool {
    /// What they are made from, on top of the defaults. Only a box that is asked for with the same options is taken from here.
    pub options: SandboxOptions,
    /// How many wait.
    pub size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            defaults: SandboxOptions::default(),
            per_conversation: false,
            working_dir: "/workspace".into(),
            volumes: Vec::new(),
            private_allowed: Vec::new(),
            retention: Some(Duration::from_hours(30 * 24)),
            on_shutdown: OnShutdown::Keep,
            max_starting: 4,
            max_boxes: 4096,
            keeps_unknown: false,
            pools: Vec::new(),
            sweep_interval: Duration::from_secs(5),
        }
    }
}
