//! `longshore boxd`: the server's hands in a box. Whoever makes the box starts it.

use std::time::Duration;

use anyhow::Context as _;
use longshore_workspace::boxd::{Address, Listen, Options, relay, serve};

use crate::cli;

/// How long a `boxd` may take to listen when it is started at the same moment as what connects to it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long processes live on whose server does not come back. A server that was restarted is another one for them, and what an
/// agent left running in a box, such as a development server, is to outlive that.
const LINGER: Duration = Duration::from_hours(24);

/// Serves until it is told to end, or passes bytes until there are no more.
pub(crate) fn boxd(options: cli::Boxd) -> anyhow::Result<()> {
    let cli::Boxd { working_dir, proxy_port, fd, socket, connect } = options;
    if let Some(address) = connect {
        return relay(&Address::parse(&address), PATIENCE).context("the box cannot be reached");
    }
    let listen = match (fd, socket) {
        (Some(fd), _) => Listen::Inherited(fd),
        (None, socket) => Listen::At(Address::parse(&socket.unwrap_or_default())),
    };
    let mut options = Options::new(working_dir);
    options.proxy_port = proxy_port;
    options.linger = LINGER;
    serve(listen, options).context("the box cannot be served")
}
