//! When somebody last used the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// When somebody last used the server: orchestrators stop servers that nobody uses.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// Milliseconds from the start to the latest use.
    latest: AtomicU64,
}

impl Activity {
    /// A server that starts now.
    pub(crate) fn start() -> Self {
        Self(Arc::new(Inner { started: Instant::now(), latest: AtomicU64::new(0) }))
    }

    /// Somebody uses the server now.
    pub fn touch(&self) {
        let now = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.latest.fetch_max(now, Ordering::Relaxed);
    }

    /// How long the server has been running.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// How long nobody has used the server.
    pub fn idle(&self) -> Duration {
        self.uptime().saturating_sub(Duration::from_millis(self.0.latest.load(Ordering::Relaxed)))
    }
}
