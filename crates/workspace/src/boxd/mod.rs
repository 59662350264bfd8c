//! The server's hands inside a box: a [`Local`] workspace that is served over byte streams.
//!
//! `boxd` is this program again, started in a box. It listens on a socket that only the box and whoever made it can reach,
//! and serves whoever connects: a server that comes back finds its processes where it left them. It trusts the server and
//! defends itself, as far as a process can, against the processes that it starts.

mod address;
mod answer;
mod client;
mod connection;
mod egress;
mod input;
mod output;
mod process;
mod protect;
mod relay;

use std::{ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};

pub use address::{Address, Listen};
use client::Clients;
use connection::{MAX_OPEN, Served};
use egress::Egress;
pub use relay::relay;
use tokio::sync::Semaphore;

use crate::{Local, LocalOptions};

/// The port at which a `boxd` offers the way out of its box, by convention of those who make boxes.
pub const PROXY_PORT: u16 = 13128;

/// How a `boxd` works.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The folder that commands start in and that relative paths are taken from.
    pub working_dir: PathBuf,
    /// The environment that processes get: by default this process's, which in a box is the box's own.
    pub environment: Vec<(OsString, OsString)>,
    /// The port on the box's loopback addresses at which connections are accepted and handed to the server. Programs of the
    /// box are told, by variables, to use it as their proxy.
    pub proxy_port: Option<u16>,
    /// How long processes live on whose server is not connected.
    pub linger: Duration,
    /// How long the output of such processes waits for the server before it is thrown away, except for the last 1 MiB.
    pub hold: Duration,
}

impl Options {
    /// Works in `working_dir`; processes live on for 10 minutes, and nothing of their output is thrown away for 30 seconds.
    pub fn new(working_dir: impl Into<PathBuf>) -> Self {
        Self {
            working_dir: working_dir.into(),
            environment: std::env::vars_os().collect(),
            proxy_port: None,
            linger: Duration::from_mins(10),
            hold: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables hold secrets.
        f.debug_struct("Options").field("working_dir", &self.working_dir).finish_non_exhaustive()
    }
}

/// Serves until this process is told to end by a signal from outside of the box, from its parent or from the first process
/// of the box; then all that it started is killed. Signals from other processes change nothing.
///
/// Must be called once, early, in a process of its own: it protects the process, takes over its signals and collects
/// orphans.
///
/// # Errors
/// What the system says to the socket; the message names it.
pub fn serve(listen: Listen, options: Options) -> io::Result<()> {
    protect::process();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(64).build()?;
    let served = runtime.block_on(async {
        let ended = protect::told_to_end()?;
        let listener = listen.listener()?;
        protect::collect_orphans()?;
        let mut local = LocalOptions::new(options.working_dir);
        local.inherited = options.environment;
        local.pass_all = true;
        let egress = match options.proxy_port {
            Some(port) => {
                local.env.extend(egress::variables(port));
                Some(Egress::listen(port).await?)
            }
            None => None,
        };
        let local = Local::new(local).map_err(io::Error::other)?;
        let room = Arc::new(Semaphore::new(MAX_OPEN));
        let clients = Arc::new(Clients::new(options.linger, options.hold));
        tokio::select! {
            failed = connection::accept(listener, Served { local, clients, egress, room, checks_users: listen.is_open_to_all() }) => failed,
            ended = ended => ended,
        }
    });
    // Handles of processes kill what they stand for, which the tasks of the runtime hold.
    runtime.shutdown_background();
    protect::end_children();
    listen.remove();
    served
}
