//! The program as people and scripts use it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stdout, reason = "a test says why it is skipped")]

mod accounts;
mod audit;
mod boxes;
mod config;
mod demo;
mod limits;
mod oidc;
mod processes;
mod run;
mod sandboxes;
mod serve;
mod signals;
mod support;
mod telemetry;
mod terminal;
