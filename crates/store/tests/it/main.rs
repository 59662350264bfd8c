//! What a store promises, and what the one in SQLite adds to that.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod audit;
mod contract;
mod crash;
mod damage;
mod keys;
mod samples;
mod sqlite;
