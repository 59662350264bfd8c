//! How long something is tried that does not work.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long to wait before the next attempt: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Counts how long something has not worked.
pub(super) struct Patience {
    limit: Duration,
    /// When it is over, whatever works.
    end: Option<Instant>,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    /// Enough to try for `limit`, and, if there is a time for the whole, for no longer than that and `limit`.
    pub(super) fn new(limit: Duration, whole: Option<Duration>) -> Self {
        let end = whole.map(|whole| Instant::now() + whole + limit);
        Self { limit, end, failing_since: None, pause: PAUSES.0 }
    }

    /// What began at `began` has failed. Waits a little and says whether to try again.
    pub(super) async fn is_left(&mut self, began: Instant) -> bool {
        let now = Instant::now();
        if now - began >= self.limit {
            // It worked for a while, so this is another failure.
            self.failing_since = None;
            self.pause = PAUSES.0;
        }
        let since = *self.failing_since.get_or_insert(now);
        let next = now + self.pause;
        if next >= since + self.limit || self.end.is_some_and(|end| next >= end) {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (2 * self.pause).min(PAUSES.1);
        true
    }

    /// When the current failures have gone on for too long.
    pub(super) fn deadline(&self) -> Instant {
        self.failing_since.unwrap_or_else(Instant::now) + self.limit
    }
}
