//! The server through its own port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod agents;
mod attacks;
mod attacks_socket;
mod audit;
mod auth;
mod bash;
mod bash_socket;
mod conversations;
mod cors;
mod custom_server;
mod errors;
mod events;
mod events_socket;
mod files;
mod git;
mod info;
mod limits;
mod metrics;
mod native;
mod oidc;
mod openapi;
mod owners;
mod places;
mod recordings;
mod runs;
mod server;
mod shutdown;
mod tenancy;
mod tls;
mod usage;
