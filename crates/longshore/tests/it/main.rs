//! The program as people and scripts use it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod demo;
mod processes;
mod run;
mod serve;
mod signals;
mod support;
mod terminal;
