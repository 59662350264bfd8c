//! Durable rows: conversations and their events, secrets, settings, commands.
//!
//! [`Store`] is the interface; [`Sqlite`] implements it. What a method has returned is on disk, whatever dies next.
//! Every row has an owner, and no method reads across owners except those that say so. Times are kept to the microsecond.
//!
//! The crate knows nothing of agents or HTTP.

mod accounts;
mod audit;
mod cipher;
mod directory;
mod error;
mod sqlite;
mod usage;
mod vitals;
mod workspaces;

use std::{fmt, sync::Arc};

pub use accounts::{Accounts, KeyHash, StoredKey, UserChange};
use async_trait::async_trait;
pub use audit::{
    Audit, AuditEntry, AuditHash, AuditHead, AuditProblem, AuditProgress, AuditQuery, AuditRecord, AuditVerdict,
    MAX_AUDIT_DETAILS, MAX_AUDIT_TEXT,
};
pub use cipher::Keys;
pub use error::Error;
use indexmap::IndexMap;
pub use longshore_protocol::conversation::{Definition, Progress};
use longshore_protocol::{
    ConversationId, Event, Source, UtcTime,
    agent::SecretSource,
    bash::{BashCommand, BashEvent},
    conversation::ExecutionStatus,
    metrics::Call,
    sandbox::{SandboxEvent, SandboxEventBody, SandboxOptions, SandboxState},
};
use serde_json::Value;
pub use sqlite::{AuditLog, Sqlite};
pub use usage::{ConversationUsage, Spent, Usage, UsageBy, UsageQuery, UsageRow, UsageTotals, day_of};
use uuid::Uuid;
pub use vitals::{LATENCY_BOUNDS, Latency, Space, Vital, Vitals};
pub use workspaces::{WorkspaceRow, WorkspaceRows};

/// The user that a row belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub Arc<str>);

/// A position in a conversation's log: 0 for the first event.
pub type Seq = u64;

/// Durable rows.
#[async_trait]
pub trait Store: Accounts + Audit + Usage + Vital + WorkspaceRows + fmt::Debug + Send + Sync {
    /// Stores a conversation unless its id is taken. Of several calls with one id exactly one gets
    /// [`Created::New`].
    ///
    /// # Errors
    /// [`Error`].
    async fn create_conversation(&self, new: NewConversation) -> Result<Created, Error>;

    /// A conversation of `owner`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the row cannot be read.
    async fn conversation(&self, owner: &Owner, id: ConversationId) -> Result<Option<Conversation>, Error>;

    /// A page of conversations of `owner`, by id and latest change: most of what a list shows is known already.
    ///
    /// # Errors
    /// [`Error`].
    async fn find_conversations(
        &self,
        owner: &Owner,
        query: ConversationQuery,
    ) -> Result<Page<ConversationHead>, Error>;

    /// How many conversations `owner` has, in one workspace if it is given.
    ///
    /// # Errors
    /// [`Error`].
    async fn count_conversations(
        &self,
        owner: &Owner,
        status: Option<ExecutionStatus>,
        workspace: Option<Uuid>,
    ) -> Result<u64, Error>;

    /// Whether a conversation of `owner` works in this workspace; none if there is no such conversation.
    ///
    /// # Errors
    /// [`Error`].
    async fn is_in_workspace(&self, owner: &Owner, id: ConversationId, workspace: Uuid) -> Result<Option<bool>, Error>;

    /// The conversations of `owner` that have `parent` as their parent.
    ///
    /// # Errors
    /// [`Error`].
    async fn children(&self, owner: &Owner, parent: ConversationId) -> Result<Vec<ConversationId>, Error>;

    /// Removes a conversation with all that belongs to it; false if there was none.
    ///
    /// # Errors
    /// [`Error`].
    async fn delete_conversation(&self, owner: &Owner, id: ConversationId) -> Result<bool, Error>;

    /// The conversations of all owners that are stored as running: after a start, those that the last server left.
    ///
    /// # Errors
    /// [`Error`].
    async fn interrupted(&self) -> Result<Vec<(Owner, ConversationId)>, Error>;

    /// Appends events and changes the conversation, both or neither. Returns the position after the last event.
    ///
    /// # Errors
    /// [`Error::NoSuchConversation`] if it was deleted, [`Error::Conflict`] if the log does not end at
    /// `commit.expected_tail`: somebody else wrote. [`Error::DuplicateEvent`] if an event's id is taken.
    async fn commit(&self, id: ConversationId, commit: Commit) -> Result<Seq, Error>;

    /// Up to `limit` events from position `from`, in order: fewer if they are large, but one at least if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the event that cannot be read.
    async fn events(&self, id: ConversationId, from: Seq, limit: usize) -> Result<Vec<StoredEvent>, Error>;

    /// A page of the events that match; shorter than asked for if they are large.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the event that cannot be read.
    async fn find_events(&self, id: ConversationId, query: EventQuery) -> Result<Page<StoredEvent>, Error>;

    /// How many events match.
    ///
    /// # Errors
    /// [`Error`].
    async fn count_events(&self, id: ConversationId, filter: EventFilter) -> Result<u64, Error>;

    /// Events by id, in the order of `ids`.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the event that cannot be read.
    async fn events_by_id(&self, id: ConversationId, ids: &[String]) -> Result<Vec<Option<StoredEvent>>, Error>;

    /// The model calls of conversations, in order.
    ///
    /// # Errors
    /// [`Error`].
    async fn calls(&self, ids: &[ConversationId]) -> Result<Vec<Vec<Call>>, Error>;

    /// Stores events of commands. `scope` is where they were asked for.
    ///
    /// If more than `keep` bytes of JSON are then stored for `owner`, in all scopes, the events that were stored first are
    /// removed until there are no more; commands that run stay.
    ///
    /// # Errors
    /// [`Error::NoSuchConversation`] if `scope` is a conversation that `owner` has not.
    async fn append_bash(&self, owner: &Owner, scope: At, events: Vec<BashEvent>, keep: u64) -> Result<(), Error>;

    /// A page of events of commands, by time and then in the order they were stored.
    ///
    /// # Errors
    /// [`Error::NoSuchConversation`] if `scope` is a conversation that `owner` has not, [`Error::Damaged`].
    async fn find_bash(&self, owner: &Owner, scope: At, query: BashQuery) -> Result<Page<BashEvent>, Error>;

    /// The commands of all owners that have no output with an exit code: they were running when the last server died.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn unfinished_bash(&self) -> Result<Vec<(Owner, At, BashCommand)>, Error>;

    /// Removes all events of commands and returns how many there were.
    ///
    /// # Errors
    /// [`Error::NoSuchConversation`] if `scope` is a conversation that `owner` has not.
    async fn clear_bash(&self, owner: &Owner, scope: At) -> Result<u64, Error>;

    /// The value of a setting of `owner`: any JSON, in which texts at secret-looking places are encrypted at rest.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn setting(&self, owner: &Owner, name: &str) -> Result<Option<Value>, Error>;

    /// Sets or, with `None`, removes a setting.
    ///
    /// # Errors
    /// [`Error`].
    async fn set_setting(&self, owner: &Owner, name: &str, value: Option<Value>) -> Result<(), Error>;

    /// The secrets that `owner` saved, by name.
    ///
    /// # Errors
    /// [`Error::Damaged`] if one cannot be decrypted.
    async fn secrets(&self, owner: &Owner) -> Result<IndexMap<String, SecretSource>, Error>;

    /// Saves or, with `None`, removes a secret. Returns whether there was one before.
    ///
    /// # Errors
    /// [`Error`].
    async fn set_secret(&self, owner: &Owner, name: &str, secret: Option<SecretSource>) -> Result<bool, Error>;

    /// Stores a box that is about to be made; false if its place has one.
    ///
    /// # Errors
    /// [`Error`].
    async fn create_sandbox(&self, sandbox: Sandbox) -> Result<bool, Error>;

    /// The boxes of all owners, those that wait in a pool and those that are being destroyed.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn sandboxes(&self) -> Result<Vec<Sandbox>, Error>;

    /// Changes a box and logs events, both or neither. Returns the events; none if there is no such box.
    ///
    /// # Errors
    /// [`Error`].
    async fn change_sandbox(&self, id: Uuid, change: SandboxChange) -> Result<Vec<SandboxEvent>, Error>;

    /// Gives a box that waits in a pool to a place; false if it is no longer there or the place has a box.
    ///
    /// # Errors
    /// [`Error`].
    async fn claim_sandbox(&self, id: Uuid, owner: &Owner, at: At, now: UtcTime) -> Result<bool, Error>;

    /// Forgets a box of which nothing is left.
    ///
    /// # Errors
    /// [`Error`].
    async fn delete_sandbox(&self, id: Uuid) -> Result<(), Error>;

    /// Up to `limit` events of a box from position `from`, in order. The latest ten thousand are kept.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn sandbox_events(&self, id: Uuid, from: Seq, limit: usize) -> Result<Vec<SandboxEvent>, Error>;

    /// Waits until all that was accepted is on disk and closes the files.
    async fn close(&self);
}

/// What came of a wish to create.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It is stored.
    New,
    /// This owner has one with this id, unchanged.
    Existing(Box<Conversation>),
    /// Another owner has one with this id.
    Taken,
}

/// A conversation to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConversation {
    /// Its id.
    pub id: ConversationId,
    /// Whose it is.
    pub owner: Owner,
    /// Now.
    pub created_at: UtcTime,
    /// The conversation that it helps.
    pub parent: Option<ConversationId>,
    /// The workspace that it works in, if that is not one for itself.
    pub workspace: Option<Uuid>,
    /// What it is.
    pub definition: Definition,
    /// How far it is.
    pub progress: Progress,
    /// Labels.
    pub tags: IndexMap<String, String>,
    /// Its secrets.
    pub secrets: IndexMap<String, SecretSource>,
}

/// A stored conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Whose it is.
    pub owner: Owner,
    /// When it was made.
    pub created_at: UtcTime,
    /// When it last changed.
    pub updated_at: UtcTime,
    /// The conversation that it helps.
    pub parent: Option<ConversationId>,
    /// Its title.
    pub title: Option<String>,
    /// What it is.
    pub definition: Definition,
    /// How far it is.
    pub progress: Progress,
    /// Labels.
    pub tags: IndexMap<String, String>,
    /// Its secrets.
    pub secrets: IndexMap<String, SecretSource>,
    /// The position after its last event.
    pub tail: Seq,
}

/// Changes to a conversation that become durable together.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Where the writer believes the log to end.
    pub expected_tail: Seq,
    /// Now.
    pub at: UtcTime,
    /// Events to append.
    pub events: Vec<NewEvent>,
    /// Model calls to log.
    pub calls: Vec<Call>,
    /// The new progress.
    pub progress: Option<Progress>,
    /// The new definition.
    pub definition: Option<Definition>,
    /// The new title.
    pub title: Option<String>,
    /// The new labels.
    pub tags: Option<IndexMap<String, String>>,
    /// The new secrets.
    pub secrets: Option<IndexMap<String, SecretSource>>,
}

impl Commit {
    /// Nothing yet.
    pub fn new(expected_tail: Seq, at: UtcTime) -> Self {
        Self {
            expected_tail,
            at,
            events: Vec::new(),
            calls: Vec::new(),
            progress: None,
            definition: None,
            title: None,
            tags: None,
            secrets: None,
        }
    }
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event. Secrets in it are already hidden.
    pub event: Arc<Event>,
    /// Its compact JSON text, which is what is stored.
    pub json: Arc<str>,
    /// The arguments of a tool call as the model wrote them, if the event hides part of them. Encrypted at rest.
    pub arguments: Option<String>,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its position.
    pub seq: Seq,
    /// Its id.
    pub id: String,
    /// Its compact JSON text.
    pub json: Arc<str>,
    /// The arguments of a tool call as the model wrote them, if the event hides part of them.
    pub arguments: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The first item of the next page.
    pub next: Option<String>,
}

/// Which conversations to list.
#[derive(Debug, Clone, Default)]
pub struct ConversationQuery {
    /// Only those that do this.
    pub status: Option<ExecutionStatus>,
    /// Only those in this workspace.
    pub workspace: Option<Uuid>,
    /// In this order.
    pub order: ConversationOrder,
    /// From this one on; from the start if it is not there.
    pub from: Option<ConversationId>,
    /// At most so many.
    pub limit: usize,
}

/// A conversation in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationHead {
    /// Its id.
    pub id: ConversationId,
    /// When it last changed.
    pub updated_at: UtcTime,
}

/// The order of conversations; ties by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConversationOrder {
    /// Oldest first.
    Created,
    /// Newest first.
    #[default]
    CreatedDescending,
    /// Longest unchanged first.
    Updated,
    /// Latest changed first.
    UpdatedDescending,
}

/// Which events to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only from this source.
    pub source: Option<Source>,
    /// Only messages whose text, reasoning or extended content has this text, in any case.
    pub text: Option<String>,
    /// Not before this time, in the form of events.
    pub since: Option<String>,
    /// Before this time, in the form of events.
    pub before: Option<String>,
}

/// Which events to find and in what order.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Which.
    pub filter: EventFilter,
    /// Newest first.
    pub descending: bool,
    /// From the event with this id on; from the start if it is not there.
    pub from: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Which events of commands to find and in what order.
#[derive(Debug, Clone, Default)]
pub struct BashQuery {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only outputs of this command: 32 hexadecimal digits.
    pub command_id: Option<String>,
    /// Only this event: 32 hexadecimal digits.
    pub id: Option<String>,
    /// Not before this time.
    pub since: Option<UtcTime>,
    /// Before this time.
    pub before: Option<UtcTime>,
    /// Only outputs after this position of their command.
    pub after_order: Option<u64>,
    /// Newest first.
    pub descending: bool,
    /// From the event with this id on; from the start if it is not there.
    pub from: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Which of a user's places to work in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum At {
    /// The one that every user has.
    #[default]
    Own,
    /// The one that a conversation has for itself.
    Conversation(ConversationId),
    /// A workspace that the user made.
    Workspace(Uuid),
}

/// A stored box.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// Its id.
    pub id: Uuid,
    /// Whose it is; nobody's while it waits in a pool.
    pub owner: Option<Owner>,
    /// Which of the owner's places has it.
    pub at: At,
    /// The backend that makes it.
    pub backend: String,
    /// What it is made from. Variables are encrypted at rest.
    pub options: SandboxOptions,
    /// The folder that commands start in.
    pub working_dir: String,
    /// What it is doing.
    pub state: SandboxState,
    /// Why, in words.
    pub reason: String,
    /// Whether it is to be destroyed.
    pub is_doomed: bool,
    /// When it was made.
    pub created_at: UtcTime,
    /// When it was last used.
    pub used_at: UtcTime,
}

/// Changes to a box that become durable together.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxChange {
    /// Now.
    pub at: UtcTime,
    /// What it does from now on, and why.
    pub state: Option<(SandboxState, String)>,
    /// When it was last used; an earlier time changes nothing.
    pub used_at: Option<UtcTime>,
    /// Whether it is to be destroyed. There is no way back.
    pub doom: bool,
    /// What it is made from.
    pub options: Option<SandboxOptions>,
    /// What to log.
    pub events: Vec<SandboxEventBody>,
}

impl SandboxChange {
    /// Nothing yet.
    pub fn new(at: UtcTime) -> Self {
        Self { at, state: None, used_at: None, doom: false, options: None, events: Vec::new() }
    }
}
