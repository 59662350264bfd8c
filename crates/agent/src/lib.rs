//! The agent as a value.
//!
//! [`Machine`] decides what a conversation does next. It has no I/O, no clock and no randomness: what happened comes in by
//! method calls, what is to be done goes out as [`Effect`]s, and time and ids are asked of a [`World`]. The same inputs
//! therefore always give the same conversation.
//!
//! The other modules are its parts: what the model reads ([`view`], [`prompt`]), what its tool calls mean ([`call`]), when it
//! goes in circles ([`stuck`]), what nobody may read ([`mask`]).

pub mod builtin;
pub mod call;
mod machine;
pub mod mask;
pub mod prompt;
pub mod stuck;
mod text;
pub mod view;

use std::{fmt, sync::Arc};

use longshore_protocol::{
    Action, Event, EventTime, Message,
    error::ErrorClassification,
    tool::{ToolDefinition, ToolSchema},
};
pub use machine::{AlreadyRunning, Answer, Failure, Machine, Setup, ToolResult};

/// Where time and ids come from.
pub trait World {
    /// The wall-clock time.
    fn time(&mut self) -> EventTime;

    /// A new id.
    fn id(&mut self) -> String;
}

/// A tool as the machine knows it.
#[derive(Clone)]
pub struct ToolInfo {
    /// As clients see it.
    pub definition: ToolDefinition,
    /// As the model sees it, without what all tools have.
    pub schema: ToolSchema,
    /// Who carries its actions out.
    pub runner: Runner,
}

impl fmt::Debug for ToolInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ToolInfo").field(&self.schema.name).finish()
    }
}

/// The key of what an action must not share with another that runs at the same time.
pub type Resource = Arc<dyn Fn(&Action) -> Option<String> + Send + Sync>;

/// Who carries a tool's actions out.
#[derive(Clone)]
pub enum Runner {
    /// The machine itself: the action is about the conversation.
    Machine,
    /// Somebody who gets an [`Effect::Act`].
    World(Resource),
    /// The client that reads the action's event.
    Client,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "Machine",
            Self::World(_) => "World",
            Self::Client => "Client",
        })
    }
}

/// Something to be done, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Append an event to the log. Everything after this waits until the event is durable.
    Append(Appended),
    /// Ask the model and report with [`Machine::answered`].
    Ask(Question),
    /// Carry out an action and report with [`Machine::acted`].
    Act(Act),
    /// Break off the model call and all actions; nobody waits for them any more.
    Abort,
    /// The run is over, or the status changed from outside: publish the whole state.
    Settled,
}

/// An event to append.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// The event, in which secrets are hidden.
    pub event: Arc<Event>,
    /// The arguments of a tool call as the model wrote them, if the event hides part of them.
    pub arguments: Option<String>,
}

/// What to ask the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The messages, the instructions first.
    pub messages: Vec<Arc<Message>>,
    /// The tools that it may call.
    pub tools: Arc<[ToolSchema]>,
}

/// An action to carry out.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// The action's event.
    pub action_id: String,
    /// The tool.
    pub tool: String,
    /// The action, secrets included.
    pub action: Action,
}

/// Why an action failed. The model reads the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActFailure {
    /// What went wrong.
    pub error: String,
    /// What kind of failure it is.
    pub classification: ErrorClassification,
}
