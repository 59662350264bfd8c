//! How a store is doing, for those who watch a server.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;

use crate::Error;

/// Upper bounds of the classes of [`Latency`], in seconds. What takes longer than all of them is in one more class.
pub const LATENCY_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What can be told of a store's health.
#[async_trait]
pub trait Vital {
    /// What the store has done since it was opened and what waits. Never waits for a read or a write.
    fn vitals(&self) -> Vitals;

    /// The room that the files take and have. Asks the file system, and so may block for a moment.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn space(&self) -> Result<Space, Error>;

    /// Whether rows can be read, and whether the latest write was stored. A write that failed counts for half a minute, so
    /// that a server nobody writes to does not call itself broken for ever.
    ///
    /// # Errors
    /// Why rows cannot be had.
    async fn probe(&self) -> Result<(), Error>;
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// Writes that ended, well or not.
    pub writes: u64,
    /// How long they took, waiting included.
    pub latency: Latency,
    /// Writes that wait for the one that is under way.
    pub waiting: usize,
    /// Reads and writes that failed because of the store, not because of what was asked.
    pub errors: u64,
}

/// How long something took, by classes.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// How many there were in each class of [`LATENCY_BOUNDS`], and how many took longer.
    pub classes: [u64; LATENCY_BOUNDS.len() + 1],
    /// The sum of all.
    pub total: Duration,
}

/// The room that the files take and have, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// The folder they are in.
    pub directory: PathBuf,
    /// The database.
    pub database: u64,
    /// The write-ahead log.
    pub log: u64,
    /// What is left on the disk for this user.
    pub free: u64,
    /// How large the disk is.
    pub disk: u64,
}
