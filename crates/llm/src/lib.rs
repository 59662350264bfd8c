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
//!   `price` what it costs, and `estimate` what it may cost before it is asked.
//! * `body` writes the request, `chat` sends it and reads what comes, whole or through `sse`; `answer` makes a
//!   message of it, `failure` an [`Error`]; `retry` decides about another attempt; `mask` keeps keys out of messages.
//! * `operated` are the operator's own, which users know by name only.
//! * `scripted` and `record` answer from `files` of the operator; `fingerprint` tells equal requests.
//!
//! To add a provider that speaks chat completions, add a row to the table in `provider.rs`. To add a protocol, write a
//! [`Model`] beside `chat` and let [`Models::resolve`] choose it.

mod answer;
mod body;
mod catalog;
mod chat;
mod error;
mod estimate;
mod failure;
mod features;
mod files;
mod fingerprint;
mod mask;
mod models;
mod operated;
mod price;
mod provider;
mod record;
mod retry;
mod scripted;
mod sse;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
pub use error::{Error, ErrorKind};
pub use estimate::{Estimate, USUAL_OUTPUT};
use longshore_protocol::{ConversationId, Message, metrics::Call, tool::ToolSchema};
pub use models::{Environment, Models, ModelsOptions};
pub use operated::{ModelCard, OperatedModel};
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

    /// The most that one attempt to answer a request may count and cost, as far as that can be known before.
    fn estimate(&self, request: &Request) -> Estimate;
}

/// Is asked before a request is sent again.
#[async_trait]
pub trait Meter: fmt::Debug + Send + Sync {
    /// An attempt failed, and perhaps the provider wants money for it. Another one is about to leave.
    ///
    /// # Errors
    /// Why it must not.
    async fn again(&self, may_be_billed: bool) -> Result<(), Error>;
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
    /// Tokens of the answer at most, where the configuration has no limit of its own.
    pub max_output_tokens: Option<u64>,
    /// Who is asked before another attempt leaves.
    pub meter: Option<Arc<dyn Meter>>,
}

impl Request {
    pub(crate) async fn again(&self, may_be_billed: bool) -> Result<(), Error> {
        match &self.meter {
            Some(meter) => meter.again(may_be_billed).await,
            None => Ok(()),
        }
    }
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
