//! The engine with real parts: a database in a folder, a model over HTTP, a shell.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod capacity;
mod confirmation;
mod control;
mod crash;
mod creation;
mod failures;
mod memory;
mod readers;
mod runs;
mod secrets;
mod world;
