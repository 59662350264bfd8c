//! The server through its own port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod bash;
mod bash_socket;
mod cors;
mod errors;
mod files;
mod git;
mod info;
mod recordings;
mod server;
mod shutdown;
