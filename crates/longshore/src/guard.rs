//! `longshore guard`: ends what a server started when the server has ended. The server starts it by itself.

/// Waits for the end of standard input, then kills every process that carries `marker`.
pub(crate) fn guard(marker: &str) {
    longshore_workspace::guard::run(marker);
}
