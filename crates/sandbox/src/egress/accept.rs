//! From a box's connections to its proxy.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::FuturesUnordered};
use longshore_workspace::{Error, Reader, Writer};
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Proxy;

/// How many connections are waited for at a time, so that one that comes need not wait for the question.
const WAITING: usize = 4;

/// How long nothing is accepted after a failure: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where a box's connections come from.
#[async_trait]
pub trait Acceptor: Send + Sync {
    /// Waits for the next connection that a program opens to the proxy in its box.
    ///
    /// # Errors
    /// The box cannot be asked now; or, if the cause is [`io::ErrorKind::NotConnected`], never again.
    async fn accept(&self) -> Result<(Reader, Writer), Error>;
}

/// Serves the connections of a box until `cancel`, which breaks all of them off.
///
/// After an error it tries again, later each time, up to five seconds.
///
/// # Errors
/// The box is gone: [`Acceptor::accept`] failed with [`io::ErrorKind::NotConnected`].
pub async fn run(
    acceptor: &(impl Acceptor + ?Sized),
    proxy: &Arc<Proxy>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let seats = Arc::new(Semaphore::new(proxy.capacity()));
    // What is not accepted waits in the box.
    let accept = async |pause: Duration| {
        tokio::time::sleep(pause).await;
        let seat = Arc::clone(&seats).acquire_owned().await;
        (acceptor.accept().await, seat)
    };
    let mut waiting: FuturesUnordered<_> = (0..WAITING).map(|_| accept(Duration::ZERO)).collect();
    let mut pause = Duration::ZERO;
    let mut served = JoinSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            Some(ended) = served.join_next() => report(ended),
            Some((accepted, seat)) = waiting.next() => {
                match accepted {
                    Ok((reader, writer)) => {
                        pause = Duration::ZERO;
                        let proxy = Arc::clone(proxy);
                        let serve = async move {
                            let _seat = seat;
                            proxy.serve(tokio::io::join(reader, writer)).await;
                        };
                        served.spawn(serve.in_current_span());
                    }
                    Err(gone) if is_gone(&gone) => return Err(gone),
                    Err(error) => {
                        pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                        tracing::debug!(%error, ?pause, "a box's connections cannot be accepted now");
                    }
                }
                waiting.push(accept(pause));
            }
        }
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Unreachable { cause } | Error::Io { cause, .. } if cause.kind() == io::ErrorKind::NotConnected)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(cause) = ended
        && cause.is_panic()
    {
        tracing::error!(%cause, "a box's connection ended in a panic");
    }
}
