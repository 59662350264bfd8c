//! Bytes between a program and a host that nobody reads on the way.

use longshore_workspace::Duplex;

use super::BUFFER;

/// Copies both ways until both ends have ended; when one does, the other is told and may go on.
pub(super) async fn carry(mut near: impl Duplex, mut far: impl Duplex) {
    let copied = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await;
    if let Err(cause) = copied {
        tracing::debug!(%cause, "a tunnel of a box broke");
    }
}
