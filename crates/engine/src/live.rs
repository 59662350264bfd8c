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
use tracing::Span;

use crate::{
    Clock, Error,
    feed::{Feed, Frame},
    info::{Info, Skills, Snapshot},
};

/// Wishes that may wait for a conversation's task. More senders wait themselves.
pub(crate) const MAX_WISHES: usize = 64;

/// The largest frame that the official Python client takes; a larger one makes it reconnect for ever.
const MAX_FRAME: usize = 1 << 20;

/// A wish, where the answer goes, and what the wish was made in.
pub(crate) type Letter = (Wish, Reply, Span);

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Answer>;

/// What became of a wish.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was granted and is stored, or it was not.
    Done(Result<(), Error>),
    /// The conversation left memory before its task read the wish: make it again.
    Left(Box<Wish>),
}

/// What somebody wants of a conversation.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Say something, and perhaps begin.
    Say { message: Message, run: bool },
    /// Say the first thing and begin; nothing if something was said before.
    Begin(Message),
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
    /// Nothing: granted when all that came before is stored.
    Settle,
    /// Be gone, whatever is under way.
    Delete,
}

/// The public side of a conversation's task.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: ConversationId,
    pub(crate) owner: Owner,
    pub(crate) mailbox: mpsc::Sender<Letter>,
    pub(crate) feed: Feed,
    /// Cloned by each reader, so that the task knows whether there are any.
    pub(crate) readers: Arc<()>,
    clock: Clock,
    snapshot: RwLock<Arc<Snapshot>>,
    calls: Mutex<Vec<Call>>,
    /// The latest answer about the conversation: clients ask many times between two changes.
    answer: Mutex<Latest>,
}

/// An answer that holds until the snapshot or the epoch is another.
#[derive(Debug, Default)]
struct Latest {
    /// Counts changes that the snapshot does not show.
    epoch: u64,
    answer: Option<(Arc<Snapshot>, Skills, Info)>,
}

impl Live {
    pub(crate) fn new(
        owner: Owner,
        snapshot: Snapshot,
        calls: Vec<Call>,
        tail: longshore_store::Seq,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<Letter>) {
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
            answer: Mutex::default(),
        };
        (live, receiver)
    }

    /// Gives the task a wish and waits until it is granted and stored. `Err` is the wish of a conversation that left memory.
    pub(crate) async fn ask(&self, wish: Wish) -> Result<Result<(), Error>, Wish> {
        let (reply, answer) = oneshot::channel();
        if let Err(unsent) = self.mailbox.send((wish, reply, Span::current())).await {
            return Err(unsent.0.0);
        }
        match answer.await {
            Ok(Answer::Done(result)) => Ok(result),
            Ok(Answer::Left(wish)) => Err(*wish),
            // The task broke down over the wish, so nobody knows what came of it.
            Err(_) => Ok(Err(Error::Stopping)),
        }
    }

    /// What is known and stored.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read())
    }

    /// Replaces what is known, with the calls that were made since, and tells readers what happened. Nobody sees one without
    /// the other.
    pub(crate) fn publish(&self, snapshot: Snapshot, calls: Vec<Call>, frames: Vec<Frame>) {
        self.calls.lock().extend(calls);
        self.feed.push_with(frames, || *self.snapshot.write() = Arc::new(snapshot));
    }

    /// Where a new reader begins: the position in the feed, the end of the log there, and the state there.
    pub(crate) fn cut(&self) -> (u64, longshore_store::Seq, Arc<Snapshot>) {
        self.feed.end_with(|| self.snapshot())
    }

    /// The state at a position of the feed, unless there is more to read.
    pub(crate) fn snapshot_at(&self, index: u64) -> Option<Arc<Snapshot>> {
        let (end, _, snapshot) = self.cut();
        (end == index).then_some(snapshot)
    }

    /// The conversation as REST answers give it, if nothing changed since the last time; else what a new answer is to be
    /// kept with.
    pub(crate) fn answered(&self, skills: Skills) -> Result<Info, u64> {
        let latest = self.answer.lock();
        match &latest.answer {
            Some((snapshot, with, info)) if *with == skills && Arc::ptr_eq(snapshot, &self.snapshot.read()) => {
                Ok(info.clone())
            }
            _ => Err(latest.epoch),
        }
    }

    /// The conversation as REST answers give it. `children` were read after `epoch` was.
    pub(crate) fn answer(&self, children: Vec<ConversationId>, skills: Skills, epoch: u64) -> Info {
        let snapshot = self.snapshot();
        let info = snapshot.info(&self.calls.lock(), children, skills);
        let mut latest = self.answer.lock();
        if latest.epoch == epoch {
            latest.answer = Some((snapshot, skills, info.clone()));
        }
        info
    }

    /// Forgets the last answer: something that the snapshot does not hold has changed.
    pub(crate) fn forget_answer(&self) {
        let mut latest = self.answer.lock();
        latest.epoch += 1;
        latest.answer = None;
    }

    /// A `full_state` event: the whole state, never stored.
    pub(crate) fn full_state(&self, snapshot: &Snapshot) -> Arc<str> {
        let mut state = snapshot.state();
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
