//! How fast a body must arrive.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::{Instant, Sleep, sleep};

use crate::Limits;

/// A body that breaks when too little of it arrives while somebody waits for it. The time in which the server itself has
/// no room for more does not count, and a slow line that brings a little all the time is good enough.
#[derive(Debug)]
pub(crate) struct Paced {
    body: Body,
    window: Duration,
    least: u64,
    /// What arrived in this window, and how long it was waited for.
    arrived: u64,
    waited: Duration,
    /// Since when it is waited for, and when the window ends.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// The body arrives too slowly.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("The body arrives too slowly: less than {least} bytes in {seconds} seconds")]
pub(crate) struct TooSlow {
    least: u64,
    seconds: u64,
}

impl Paced {
    pub(crate) fn new(body: Body, limits: &Limits) -> Self {
        Self {
            body,
            window: Duration::from_secs(limits.body_window_seconds),
            least: limits.body_window_bytes,
            arrived: 0,
            waited: Duration::ZERO,
            wait: None,
        }
    }

    /// Begins the next window, if enough arrived in this one.
    fn next_window(&mut self) -> Result<(), TooSlow> {
        if self.arrived < self.least {
            return Err(TooSlow { least: self.least, seconds: self.window.as_secs() });
        }
        (self.arrived, self.waited, self.wait) = (0, Duration::ZERO, None);
        Ok(())
    }
}

impl TooSlow {
    /// The slowness that an error while reading a body comes from.
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let causes = std::iter::successors(Some(error), |error: &&'_ (dyn Error + 'static)| (*error).source());
        causes.into_iter().find_map(|error| error.downcast_ref().copied())
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some((since, _)) = this.wait.take() {
                this.waited += since.elapsed();
            }
            if let Some(Ok(frame)) = &frame {
                this.arrived += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame);
        }
        loop {
            let rest = this.window.saturating_sub(this.waited);
            let (_, end) = this.wait.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(rest))));
            ready!(end.as_mut().poll(cx));
            if let Err(error) = this.next_window() {
                return Poll::Ready(Some(Err(axum::Error::new(error))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    /// A body that brings so many bytes after each second, so many times.
    fn steady(bytes: usize, times: usize) -> Body {
        Body::from_stream(futures::stream::unfold(0, move |time| async move {
            sleep(Duration::from_secs(1)).await;
            (time < times).then(|| (Ok::<_, std::io::Error>(vec![b'x'; bytes]), time + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_body_lives_and_a_trickle_does_not() {
        let limits = Limits { body_window_seconds: 30, body_window_bytes: 3000, ..Limits::default() };
        let read = async |bytes| to_bytes(Body::new(Paced::new(steady(bytes, 1000), &limits)), usize::MAX).await;
        assert_eq!(read(110).await.unwrap().len(), 110_000);
        let error = read(90).await.unwrap_err();
        assert!(TooSlow::behind(&error).is_some(), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_server_does_not_ask_does_not_count() {
        use futures::StreamExt as _;
        let limits = Limits { body_window_seconds: 30, body_window_bytes: 3000, ..Limits::default() };
        let mut body = Body::new(Paced::new(steady(1000, 10), &limits)).into_data_stream();
        while let Some(piece) = body.next().await {
            piece.unwrap();
            sleep(Duration::from_secs(100)).await;
        }
    }
}
