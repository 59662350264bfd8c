//! Model clients.
//!
//! [`Models`] makes a [`Model`] from the configuration that an agent carries: by the provider in the model's name, or one
//! of the names for work without a network (`scripted/…`, `record/…`, `replay/…`). A model answers one [`Request`] with one
//! [`Response`]; retries, prices and the mapping of errors happen inside.
//!
//! The crate knows nothing of conversations beyond their id, which providers use to find their caches.
//!
//! What happens between a request and its response, by module:
//!
//! * `provider` tells from the model's name where to send it, `features` what the model can take, `catalog` and
//!   `price` what it costs.
//! * `body` writes the request, `chat` sends it and reads what comes, whole or through `sse`; `answer` makes a
//!   message of it, `failure` an [`Error`]; `retry` decides about another attempt; `mask` keeps keys out of messages.
//! * `scripted` and `record` answer from `files` of the operator; `fingerprint` tells equal requests.
//!
//! To add a provider that speaks chat completions, add a row to the table in `provider.rs`. To add a protocol, write a
//! [`Model`] beside `chat` and let [`Models::resolve`] choose it.

mod answer;
mod body;
mod catalog;
mod chat;
mod error;
mod failure;
mod features;
mod files;
mod fingerprint;
mod mask;
mod models;
mod price;
mod provider;
mod record;
mod retry;
mod scripted;
mod sse;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
pub use error::{Error, ErrorKind};
use longshore_protocol::{ConversationId, Message, metrics::Call, tool::ToolSchema};
pub use models::{Environment, Models, ModelsOptions};
pub use scripted::{Turn, TurnCall, TurnError, TurnUsage};
use tokio::sync::mpsc;

/// A model that answers.
#[async_trait]
pub trait Model: fmt::Debug + Send + Sync {
    /// Answers a request. Text is sent to `deltas` while it comes, if the configuration asks for streaming and somebody
    /// listens; an attempt that breaks off and is made again sends its text again. Dropping the future breaks the request
    /// off.
    ///
    /// # Errors
    /// [`Error`], after the attempts that the configuration allows.
    async fn complete(&self, request: &Request, deltas: Option<mpsc::Sender<Delta>>) -> Result<Response, Error>;
}

/// What a model is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The conversation that asks; also the key of the provider's cache.
    pub conversation: ConversationId,
    /// The messages, the instructions first.
    pub messages: Vec<Arc<Message>>,
    /// The tools that the model may call.
    pub tools: Arc<[ToolSchema]>,
}

/// What a model answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The provider's id; made up if it gave none.
    pub id: String,
    /// Text, reasoning and tool calls.
    pub message: Message,
    /// What it cost.
    pub call: Call,
}

/// Some text of an answer that is still being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Text.
    Text(String),
    /// Reasoning.
    Reasoning(String),
}
