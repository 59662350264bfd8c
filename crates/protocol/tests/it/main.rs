//! The shapes of this crate against recorded traffic of the official server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod recorded;
mod tolerance;
