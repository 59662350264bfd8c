//! Counts what the database does, without locks on the way of a read or a write.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    Error,
    vitals::{LATENCY_BOUNDS, Latency, Vitals},
};

/// How long a failed write counts.
const GRUDGE: Duration = Duration::from_secs(30);

/// Counters of one database.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    classes: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    micros: AtomicU64,
    errors: AtomicU64,
    /// The latest write that failed because of the store, unless one was stored since.
    failed: Mutex<Option<(Instant, Error)>>,
    /// Whether there is one, so that the lock is taken only then.
    has_failed: AtomicBool,
}

impl Pulse {
    /// A write that began at `began` has ended.
    pub(super) fn wrote<T>(&self, began: Instant, outcome: &Result<T, Error>) {
        let took = began.elapsed();
        let class = LATENCY_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.classes[class].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        match outcome {
            Err(error) if is_of_the_store(error) => {
                self.errors.fetch_add(1, Relaxed);
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
                self.has_failed.store(true, Relaxed);
            }
            _ if self.has_failed.load(Relaxed) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.has_failed.store(false, Relaxed);
            }
            _ => {}
        }
    }

    /// A read has ended.
    pub(super) fn read<T>(&self, outcome: &Result<T, Error>) {
        if outcome.as_ref().is_err_and(is_of_the_store) {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    /// Why the latest write was not stored, if that was a short while ago.
    pub(super) fn recent_failure(&self) -> Result<(), Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some((at, error)) if at.elapsed() < GRUDGE => Err(error.clone()),
            _ => Ok(()),
        }
    }

    pub(super) fn vitals(&self, waiting: usize) -> Vitals {
        let classes = self.classes.each_ref().map(|class| class.load(Relaxed));
        let total = Duration::from_micros(self.micros.load(Relaxed));
        Vitals {
            writes: classes.iter().sum(),
            latency: Latency { classes, total },
            waiting,
            errors: self.errors.load(Relaxed),
        }
    }
}

/// Whether the store is to blame, and not what it was asked for.
fn is_of_the_store(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Full(_) | Error::Io { .. } | Error::Database(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_counts_until_one_is_stored() {
        let pulse = Pulse::default();
        let full = || Err::<(), _>(Error::Full("/data".into()));
        pulse.wrote(Instant::now(), &full());
        pulse.read(&full());
        assert!(matches!(pulse.recent_failure(), Err(Error::Full(_))));
        assert_eq!(pulse.vitals(0).errors, 2);
        pulse.wrote(Instant::now(), &Ok(()));
        pulse.recent_failure().unwrap();
    }
}
