//! Every JSON shape of Longshore on a wire or on disk.
//!
//! The crate knows no runtime, no web framework and no database. Its shapes are those of the OpenHands agent server
//! 1.58.2, so that the official clients can parse what we write and we can parse what they send.
//!
//! Three rules hold everywhere:
//!
//! * **Tolerant reader, exact writer.** Unknown fields in input are ignored and unknown `kind`s are kept as raw JSON.
//!   What we write has exactly the fields the official clients know, because they reject others.
//! * **Nulls by surface.** A value serialises without its null fields. [`nulls`] writes the same value with them, for
//!   the surfaces where the official server does.
//! * **Secrets are redacted unless asked for.** [`secret`] decides how a [`Secret`] leaves the process.

mod kinds;

pub mod account;
pub mod action;
pub mod agent;
pub mod bash;
pub mod confirmation;
pub mod conversation;
pub mod error;
pub mod event;
pub mod file;
pub mod git;
pub mod id;
pub mod llm;
pub mod message;
pub mod metrics;
pub mod nulls;
pub mod observation;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod time;
pub mod tool;

pub use action::Action;
pub use agent::Agent;
pub use event::{Event, EventBody, Source};
pub use id::ConversationId;
pub use llm::Llm;
pub use message::{Content, ImageContent, Message, Role, TextContent, ToolCall};
pub use observation::Observation;
pub use secret::Secret;
pub use time::{EventTime, UtcTime};
