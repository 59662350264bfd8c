//! The engine with real parts: a database in a folder, a model over HTTP, a shell.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::large_futures, reason = "a test has a stack of its own")]

mod bash;
mod budgets;
mod capacity;
mod confirmation;
mod control;
mod crash;
mod creation;
mod failures;
mod fragile;
mod lost;
mod memory;
mod queue;
mod readers;
mod runs;
mod secrets;
mod world;
