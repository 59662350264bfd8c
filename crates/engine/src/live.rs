//! A conversation that somebody works with.

use std::sync::Arc;

use indexmap::IndexMap;
use longshore_agent::World;
use longshore_protocol::{
    ConversationId, Event, EventBody, Message, Source,
    agent::SecretSource,
    confirmation::{ConfirmationPolicy, ConfirmationResponse, SecurityAnalyzer},
    conversation::UpdateConversation,
    event::ConversationStateUpdateEvent,
    metrics::Call,
};
use longshore_store::Owner;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Clock, Error,
    feed::{Closed, Feed},
    info::{Info, Skills, Snapshot},
};

/// Wishes that may wait for a conversation's task. More senders wait themselves.
pub(crate) const MAX_WISHES: usize = 64;

/// The largest frame that the official Python client takes; a larger one makes it reconnect for ever.
const MAX_FRAME: usize = 1 << 20;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<(), Error>>;

/// What somebody wants of a conversation.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Say something, and perhaps begin.
    Say { message: Message, run: bool },
    /// Begin or go on.
    Run,
    /// Stop at the next step.
    Pause,
    /// Stop at once.
    Interrupt,
    /// Accept or reject what waits.
    Confirm(ConfirmationResponse),
    /// Change which actions wait.
    SetPolicy(ConfirmationPolicy),
    /// Change who judges actions.
    SetAnalyzer(Option<SecurityAnalyzer>),
    /// Add or replace secrets.
    AddSecrets(IndexMap<String, SecretSource>),
    /// Change title or labels.
    Update(UpdateConversation),
    /// Leave memory.
    Stop(Closed),
}

/// The public side of a conversation's task.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: ConversationId,
    pub(crate) owner: Owner,
    pub(crate) mailbox: mpsc::Sender<(Wish, Reply)>,
    pub(crate) feed: Feed,
    /// Cloned by each reader, so that the task knows whether there are any.
    pub(crate) readers: Arc<()>,
    clock: Clock,
    snapshot: RwLock<Arc<Snapshot>>,
    calls: Mutex<Vec<Call>>,
    /// The latest answer about the conversation: clients ask many times between two changes.
    answer: Mutex<Option<(Arc<Snapshot>, Skills, Info)>>,
}

impl Live {
    pub(crate) fn new(
        owner: Owner,
        snapshot: Snapshot,
        calls: Vec<Call>,
        tail: longshore_store::Seq,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<(Wish, Reply)>) {
        let (mailbox, receiver) = mpsc::channel(MAX_WISHES);
        let live = Self {
            id: snapshot.id,
            owner,
            mailbox,
            feed: Feed::new(tail),
            readers: Arc::new(()),
            clock,
            snapshot: RwLock::new(Arc::new(snapshot)),
            calls: Mutex::new(calls),
            answer: Mutex::new(None),
        };
        (live, receiver)
    }

    /// What is known and stored.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read())
    }

    /// Replaces what is known, with the calls that were made since.
    pub(crate) fn publish(&self, snapshot: Snapshot, calls: Vec<Call>) {
        self.calls.lock().extend(calls);
        *self.snapshot.write() = Arc::new(snapshot);
    }

    /// The conversation as REST answers give it, if nothing changed since the last time.
    pub(crate) fn answered(&self, skills: Skills) -> Option<Info> {
        let answer = self.answer.lock();
        let (snapshot, with, info) = answer.as_ref()?;
        (*with == skills && Arc::ptr_eq(snapshot, &self.snapshot.read())).then(|| info.clone())
    }

    /// The conversation as REST answers give it.
    pub(crate) fn answer(&self, children: Vec<ConversationId>, skills: Skills) -> Info {
        let snapshot = self.snapshot();
        let info = snapshot.info(&self.calls.lock(), children, skills);
        *self.answer.lock() = Some((snapshot, skills, info.clone()));
        info
    }

    /// Forgets the last answer: something that the snapshot does not hold has changed.
    pub(crate) fn forget_answer(&self) {
        *self.answer.lock() = None;
    }

    /// A `full_state` event: the whole state, never stored.
    pub(crate) fn full_state(&self) -> Arc<str> {
        let mut state = self.snapshot().state();
        let json = self.state_event(&state);
        match &mut state.agent.agent_context {
            Some(context) if json.len() >= MAX_FRAME => {
                context.skills.clear();
                self.state_event(&state)
            }
            _ => json,
        }
    }

    fn state_event(&self, state: &longshore_protocol::conversation::ConversationState) -> Arc<str> {
        let value = serde_json::to_value(state).unwrap_or_default();
        let body = ConversationStateUpdateEvent { key: "full_state".to_owned(), value };
        self.transient(Source::Environment, body.into())
    }

    /// The text of an event that is not stored.
    pub(crate) fn transient(&self, source: Source, body: EventBody) -> Arc<str> {
        let mut clock = self.clock.clone();
        let event = Event { id: clock.id(), timestamp: clock.time(), source, parent_id: None, body };
        event.to_json().into()
    }
}
