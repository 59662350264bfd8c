//! The task that owns a conversation.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use longshore_agent::{
    Appended, Effect, Machine, World,
    mask::{Mask, StreamMask},
};
use longshore_llm::{Delta, Model};
use longshore_protocol::{
    Message, Source, UtcTime,
    agent::SecretSource,
    conversation::ExecutionStatus,
    event::{ConversationStateUpdateEvent, StreamingDeltaEvent},
    metrics::Call,
    sandbox::{SandboxEvent, SandboxEventBody, SandboxState},
};
use longshore_store::{Commit, NewEvent, Seq};
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tracing::Instrument as _;

use crate::{
    Error,
    budget::{Amount, Reservation},
    feed::{Closed, Frame},
    jobs::{Jobs, Payer, Report},
    live::{Answer, Letter, Live, Reply, Wish},
    lookup,
    observer::Run,
    queue::{Standing, Ticket},
    shared::Shared,
    toolbox::Toolbox,
};

/// Characters of a title that is made from a message.
const TITLE_LEN: usize = 50;

/// The key of state updates about the place that the conversation works in.
const SANDBOX_KEY: &str = "sandbox";

/// The key of state updates about the place of a run in the queue: an object with its `position`, counted from 1, and null
/// when it waits no more.
const QUEUE_KEY: &str = "queue";

/// A run that ends so soon may end before the client that asked for it listens for the end.
const SHORT_RUN: Duration = Duration::from_secs(1);
/// After this time the state is shown to such a client once more.
const REMINDER: Duration = Duration::from_millis(400);

/// How long a user who deletes a conversation waits for the end of what its tools keep running.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// How often a conversation that cannot leave memory yet looks again.
const LEAVE_RETRY: Duration = Duration::from_secs(1);

/// The task that owns a conversation: its machine, its jobs and its end of the log.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Live>,
    pub(crate) machine: Machine,
    pub(crate) toolbox: Arc<Toolbox>,
    pub(crate) model: Option<Arc<dyn Model>>,
    pub(crate) jobs: Jobs,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) mailbox: mpsc::Receiver<Letter>,
    /// Whether the place that the conversation works in outlives this process.
    pub(crate) is_elsewhere: bool,
    /// What happens to that place.
    pub(crate) news: Option<broadcast::Receiver<SandboxEvent>>,
    pub(crate) tail: Seq,
    /// Held while the conversation runs, or waits for its turn to.
    pub(crate) ticket: Option<Ticket>,
    /// The run that is under way.
    pub(crate) run: Option<Run>,
    /// Values of secrets that another server gave out.
    pub(crate) learned: Vec<String>,
    pub(crate) streams: Streams,
    /// Whether the place is lost or cannot be made, as far as it is told.
    pub(crate) place_is_lost: bool,
    /// When the latest run began.
    pub(crate) began: Option<Instant>,
}

/// The text and the reasoning of an answer that is still being written.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    text: StreamMask,
    reasoning: StreamMask,
}

/// What is to be done and what becomes durable with it.
#[derive(Default)]
struct Work {
    effects: Vec<Effect>,
    calls: Vec<Call>,
    /// What is reserved for the calls.
    reservation: Option<Reservation>,
    title: Option<String>,
    tags: Option<IndexMap<String, String>>,
    has_new_secrets: bool,
}

/// What others see when it is durable.
struct Published {
    frames: Vec<Frame>,
    calls: Vec<Call>,
    title: Option<String>,
    tags: Option<IndexMap<String, String>>,
    has_new_secrets: bool,
}

impl From<Vec<Effect>> for Work {
    fn from(effects: Vec<Effect>) -> Self {
        Self { effects, ..Self::default() }
    }
}

/// Why a task ends.
enum End {
    /// Nobody uses the conversation.
    Unused,
    /// The conversation was deleted; whoever wanted that is told when nothing is left of it.
    Deleted(Reply),
    /// The server stops.
    Stopping,
    /// What was decided could not be stored. What the machine believes and what is stored may differ now, so the stored log
    /// is read again.
    Failed(longshore_store::Error),
}

/// Takes the conversation out of memory and lets its readers go, even if the task panics.
struct Leaving {
    shared: Arc<Shared>,
    live: Arc<Live>,
    reason: Closed,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.shared.forget(&self.live);
        self.live.feed.close(self.reason);
    }
}

impl Actor {
    /// Works until the conversation leaves memory.
    pub(crate) async fn run(mut self) {
        let mut leaving =
            Leaving { shared: Arc::clone(&self.shared), live: Arc::clone(&self.live), reason: Closed::Failed };
        let end = self.work().await;
        leaving.reason = match &end {
            End::Deleted(_) => Closed::Deleted,
            End::Stopping => Closed::Stopping,
            End::Unused | End::Failed(_) => Closed::Failed,
        };
        drop(leaving);
        if let (Some(run), End::Deleted(_)) = (self.run.take(), &end) {
            run.end("deleted");
        }
        self.jobs.abort();
        self.turn_away(&end).await;
        let goes_on = self.is_elsewhere && matches!(end, End::Stopping);
        let mut close =
            std::pin::pin!(async { if goes_on { self.toolbox.leave().await } else { self.toolbox.close().await } });
        let is_closed = tokio::time::timeout(CLOSE_PATIENCE, &mut close).await.is_ok();
        if let End::Deleted(reply) = end {
            let _ = reply.send(Answer::Done(Ok(())));
        }
        if !is_closed {
            close.await;
        }
    }

    /// Answers the wishes that came too late.
    async fn turn_away(&mut self, end: &End) {
        self.mailbox.close();
        while let Some((wish, reply, _)) = self.mailbox.recv().await {
            let _ = reply.send(match end {
                End::Unused => Answer::Left(Box::new(wish)),
                End::Deleted(_) => Answer::Done(Err(Error::NotFound(self.live.id))),
                End::Stopping => Answer::Done(Err(Error::Stopping)),
                End::Failed(error) => Answer::Done(Err(self.refusal(error))),
            });
        }
    }

    async fn work(&mut self) -> End {
        let stopping = self.shared.stopping.clone();
        let ttl = self.shared.options.idle_ttl;
        if let Err(error) = self.recover().await {
            return self.fail(error);
        }
        let mut patience = ttl;
        loop {
            let outcome = tokio::select! {
                () = stopping.cancelled() => return self.stop().await,
                Some((wish, reply, cause)) = self.mailbox.recv() => {
                    patience = ttl;
                    if let Wish::Delete = wish {
                        match self.delete().await {
                            Ok(()) => return End::Deleted(reply),
                            Err(error) => {
                                let _ = reply.send(Answer::Done(Err(error)));
                                continue;
                            }
                        }
                    }
                    self.grant(wish, reply).instrument(cause).await
                }
                Some(report) = self.reports.recv() => {
                    patience = ttl;
                    self.take(report).await
                }
                event = next(&mut self.news) => self.hear(event).await,
                standing = standing(&mut self.ticket) => self.move_up(standing).await,
                () = tokio::time::sleep(patience) => {
                    if self.can_leave() && self.shared.forget_unread(&self.live) {
                        return End::Unused;
                    }
                    patience = ttl.min(LEAVE_RETRY);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                return self.fail(error);
            }
        }
    }

    /// Whether nothing would be lost if the conversation were only a row.
    fn can_leave(&self) -> bool {
        self.machine.is_resting() && self.machine.status() != ExecutionStatus::Running && self.mailbox.is_empty()
    }

    async fn stop(&mut self) -> End {
        if !self.machine.is_resting() || self.machine.status() == ExecutionStatus::Running {
            let world = &mut self.shared.parts.clock.clone();
            let mut effects = self.machine.pause(world);
            effects.extend(self.machine.interrupt(world));
            if let Err(error) = self.perform(effects.into()).await {
                return self.fail(error);
            }
        }
        End::Stopping
    }

    async fn delete(&self) -> Result<(), Error> {
        let Live { owner, id, .. } = &*self.live;
        let was_there = self.shared.parts.store.delete_conversation(owner, *id).await?;
        was_there.then_some(()).ok_or(Error::NotFound(*id))
    }

    fn fail(&self, error: longshore_store::Error) -> End {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(conversation.id = %self.live.id, error = cause, "a conversation stopped: it could not be stored");
        End::Failed(error)
    }

    fn refusal(&self, error: &longshore_store::Error) -> Error {
        match error {
            longshore_store::Error::NoSuchConversation(_) => Error::NotFound(self.live.id),
            other => Error::Store(other.clone()),
        }
    }

    /// Does what somebody wants and tells them. The error is one that the conversation does not survive.
    async fn grant(&mut self, wish: Wish, reply: Reply) -> Result<(), longshore_store::Error> {
        let (work, refusal) = match self.decide(wish) {
            Ok((work, refusal)) => (work, refusal),
            Err(error) => {
                let _ = reply.send(Answer::Done(Err(error)));
                return Ok(());
            }
        };
        let result = self.perform(work).await;
        let _ = reply.send(Answer::Done(match &result {
            Ok(()) => refusal.map_or(Ok(()), Err),
            Err(error) => Err(self.refusal(error)),
        }));
        result
    }

    /// What a wish means, and what of it cannot be granted although the rest is.
    fn decide(&mut self, wish: Wish) -> Result<(Work, Option<Error>), Error> {
        let mut clock = self.shared.parts.clock.clone();
        let world: &mut dyn World = &mut clock;
        let mut refusal = None;
        let work = match wish {
            Wish::Say { message, run } => {
                let title = self.title_for(&message);
                let mut effects = self.machine.message(world, message);
                if run && self.machine.status() != ExecutionStatus::Running {
                    match self.start(world) {
                        Ok(more) => effects.extend(more),
                        Err(Error::AtCapacity) => refusal = Some(Error::SavedAtCapacity(self.live.id)),
                        Err(error) => return Err(error),
                    }
                }
                Work { effects, title, ..Work::default() }
            }
            Wish::Begin(_) if self.tail > 0 => Work::default(),
            Wish::Begin(message) => return self.decide(Wish::Say { message, run: true }),
            Wish::Run => self.start(world)?.into(),
            Wish::Pause => self.machine.pause(world).into(),
            Wish::Interrupt => self.machine.interrupt(world).into(),
            Wish::Confirm(response) if response.accept => match self.start(world) {
                Ok(effects) => effects.into(),
                Err(Error::AlreadyRunning) => Work::default(),
                Err(error) => return Err(error),
            },
            Wish::Confirm(response) => self.machine.confirm(world, &response).into(),
            Wish::SetPolicy(policy) => self.machine.set_confirmation_policy(world, policy).into(),
            Wish::SetAnalyzer(analyzer) => self.machine.set_security_analyzer(world, analyzer).into(),
            Wish::AddSecrets(secrets) => {
                self.add_secrets(secrets)?;
                Work { has_new_secrets: true, ..Work::default() }
            }
            Wish::Update(update) => {
                let mut work = Work { title: update.title, ..Work::default() };
                if let Some(tags) = update.tags {
                    let value = serde_json::to_value(&tags).unwrap_or_default();
                    work.effects = self.machine.field_changed(world, "tags", value);
                    work.tags = Some(tags);
                }
                work
            }
            Wish::Settle | Wish::Delete => Work::default(),
        };
        Ok((work, refusal))
    }

    /// Starts a run if one more may run, or wait.
    fn start(&mut self, world: &mut dyn World) -> Result<Vec<Effect>, Error> {
        let ticket = match self.ticket.take() {
            Some(ticket) => ticket,
            None => self.shared.runs.enter(&self.live.owner).map_err(|_| Error::AtCapacity)?,
        };
        let must_wait = ticket.is_waiting();
        self.ticket = Some(ticket);
        let effects = if must_wait { self.machine.run_later(world) } else { self.machine.run(world) };
        let effects = effects.map_err(|_| Error::AlreadyRunning)?;
        self.began = Some(Instant::now());
        let run = Run::begin(&self.shared, &self.live);
        self.jobs.span = run.span.clone();
        self.run = Some(run);
        Ok(effects)
    }

    /// Begins a run that has waited for its turn, or tells readers how long the queue before it is.
    async fn move_up(&mut self, standing: Standing) -> Result<(), longshore_store::Error> {
        match standing {
            Standing::Waits(position) => {
                self.show_change(QUEUE_KEY, json!({"position": position}));
                Ok(())
            }
            Standing::Works => {
                self.show_change(QUEUE_KEY, Value::Null);
                let effects = self.machine.begin(&mut self.shared.parts.clock.clone());
                self.perform(effects.into()).await
            }
        }
    }

    fn title_for(&self, message: &Message) -> Option<String> {
        let snapshot = self.live.snapshot();
        let has_none = snapshot.definition.autotitle && snapshot.title.is_none();
        let text = message.text();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (has_none && !line.is_empty()).then(|| shorten(&line))
    }

    fn add_secrets(&mut self, secrets: IndexMap<String, SecretSource>) -> Result<(), Error> {
        let mut all = self.machine.secrets().clone();
        all.extend(secrets.clone());
        crate::create::check_amount(&all)?;
        self.machine.set_secrets(secrets);
        self.renew_mask();
        Ok(())
    }

    pub(crate) fn renew_mask(&mut self) {
        let values: Vec<_> = lookup::known_values(self.machine.secrets()).chain(self.learned.iter().cloned()).collect();
        self.machine.set_mask(Mask::new(values));
    }

    /// Takes in what came of a job.
    async fn take(&mut self, report: Report) -> Result<(), longshore_store::Error> {
        let mut clock = self.shared.parts.clock.clone();
        let work = match report {
            Report::Delta { generation, delta } => {
                if self.jobs.is_current(generation) {
                    self.show_delta(delta);
                }
                return Ok(());
            }
            Report::Answered { generation, answer } => {
                if !self.jobs.is_current(generation) {
                    return Ok(());
                }
                self.end_stream();
                let (answer, reservation) = match answer {
                    Ok((answer, reservation)) => (Ok(answer), Some(reservation)),
                    Err(failure) => (Err(failure), None),
                };
                self.tell_of(&answer);
                let calls = answer.iter().map(|answer| answer.call.clone()).collect();
                Work { effects: self.machine.answered(&mut clock, answer), calls, reservation, ..Work::default() }
            }
            Report::Reminder => {
                if self.machine.status() != ExecutionStatus::Running {
                    self.show_state();
                }
                return Ok(());
            }
            Report::Acted { action_id, result, learned } => {
                if learned.iter().any(|value| !self.learned.contains(value)) {
                    self.learned.extend(learned);
                    self.renew_mask();
                }
                self.machine.acted(&mut clock, &action_id, result).into()
            }
        };
        self.perform(work).await
    }

    fn tell_of(&self, answer: &Result<longshore_agent::Answer, longshore_agent::Failure>) {
        let observer = self.shared.observer.get();
        match answer {
            Ok(answer) => observer.model_answered(&answer.call),
            Err(failure) => observer.model_failed(&self.live.snapshot().definition.agent.llm.model, &failure.code),
        }
    }

    /// Tells readers what happened to the place. That it was lost, and what became of it then, belongs to the conversation's
    /// story and is stored.
    async fn hear(&mut self, event: SandboxEvent) -> Result<(), longshore_store::Error> {
        let value = serde_json::to_value(&event.body).unwrap_or_default();
        let (SandboxEventBody::State { state, .. }, was_lost) = (&event.body, self.place_is_lost) else {
            self.show_change(SANDBOX_KEY, value);
            return Ok(());
        };
        self.place_is_lost = match state {
            SandboxState::Lost | SandboxState::Failed => true,
            SandboxState::Ready => false,
            _ => was_lost,
        };
        if self.place_is_lost == was_lost {
            self.show_change(SANDBOX_KEY, value);
            return Ok(());
        }
        let effects = self.machine.field_changed(&mut self.shared.parts.clock.clone(), SANDBOX_KEY, value);
        self.perform(effects.into()).await
    }

    fn show_change(&self, key: &str, value: Value) {
        let body = ConversationStateUpdateEvent { key: key.to_owned(), value };
        self.live.feed.push(Frame::Transient(self.live.transient(Source::Environment, body.into())));
    }

    fn show_delta(&mut self, delta: Delta) {
        let mask = self.machine.mask();
        let (content, reasoning_content) = match delta {
            Delta::Text(text) => (Some(self.streams.text.push(mask, &text)), None),
            Delta::Reasoning(text) => (None, Some(self.streams.reasoning.push(mask, &text))),
        };
        self.show(StreamingDeltaEvent { content, reasoning_content });
    }

    fn end_stream(&mut self) {
        let mut streams = std::mem::take(&mut self.streams);
        let mask = self.machine.mask();
        let rest = |stream: &mut StreamMask| Some(stream.finish(mask)).filter(|rest| !rest.is_empty());
        let (content, reasoning_content) = (rest(&mut streams.text), rest(&mut streams.reasoning));
        if content.is_some() || reasoning_content.is_some() {
            self.show(StreamingDeltaEvent { content, reasoning_content });
        }
    }

    fn show(&self, delta: StreamingDeltaEvent) {
        self.live.feed.push(Frame::Transient(self.live.transient(Source::Agent, delta.into())));
    }

    fn show_state(&self) {
        self.live.feed.push(Frame::Transient(self.live.full_state(&self.live.snapshot())));
    }

    /// Makes durable what was decided, tells readers, and starts what was asked for.
    ///
    /// A question to the model changes nothing in the world and may leave while the log is written; an action waits until the
    /// log says that it was begun.
    async fn perform(&mut self, work: Work) -> Result<(), longshore_store::Error> {
        let Work { effects, calls, reservation, title, tags, has_new_secrets } = work;
        let mut events = Vec::new();
        let mut later = Vec::new();
        for effect in effects {
            match effect {
                Effect::Append(Appended { event, arguments }) => {
                    let json = event.to_json().into();
                    events.push(NewEvent { event, json, arguments });
                }
                Effect::Abort => self.jobs.abort(),
                Effect::Ask(question) => {
                    // What an answer that was broken off left behind belongs to nobody.
                    self.streams = Streams::default();
                    let model = self.model();
                    self.jobs.ask(model, question, self.payer());
                }
                other @ (Effect::Act(_) | Effect::Settled) => later.push(other),
            }
        }
        if !events.is_empty() || title.is_some() || tags.is_some() || has_new_secrets {
            let at = self.shared.parts.clock.now().max(self.live.snapshot().updated_at.next());
            let mut commit = Commit::new(self.tail, at);
            let frames: Vec<_> =
                (self.tail..).zip(&events).map(|(seq, event)| Frame::Durable(seq, Arc::clone(&event.json))).collect();
            commit.events = events;
            commit.calls.clone_from(&calls);
            commit.progress = Some(self.machine.progress().clone());
            commit.title.clone_from(&title);
            commit.tags.clone_from(&tags);
            commit.secrets = has_new_secrets.then(|| self.machine.secrets().clone());
            self.tail = self.shared.parts.store.commit(self.live.id, commit).await?;
            self.shared.touch();
            if let Some(reservation) = reservation {
                reservation.stored();
            }
            self.publish(at, Published { frames, calls, title, tags, has_new_secrets });
        }
        for effect in later {
            if let Effect::Act(act) = effect {
                self.shared.actions.tell(&self.live.owner, self.live.id, &act.tool);
                self.jobs.act(act, self.machine.secrets());
                continue;
            }
            self.show_state();
            if self.began.take().is_some_and(|began| began.elapsed() < SHORT_RUN) {
                self.jobs.remind(REMINDER);
            }
        }
        if self.machine.is_resting() && self.machine.status() != ExecutionStatus::Running {
            self.leave_queue();
            if let Some(run) = self.run.take() {
                run.end(self.machine.status().as_str());
            }
        }
        Ok(())
    }

    fn leave_queue(&mut self) {
        if self.ticket.take().is_some_and(|ticket| ticket.is_waiting()) {
            self.show_change(QUEUE_KEY, Value::Null);
        }
    }

    /// Who pays for the next call.
    fn payer(&self) -> Payer {
        Payer {
            ledger: Arc::clone(&self.shared.ledger),
            owner: self.live.owner.clone(),
            spent: Amount::of_stats(&self.machine.progress().stats),
            llm: self.live.snapshot().definition.agent.llm.clone(),
        }
    }

    /// The model, made when it is first asked.
    fn model(&mut self) -> Result<Arc<dyn Model>, longshore_llm::Error> {
        if let Some(model) = &self.model {
            return Ok(Arc::clone(model));
        }
        let model = self.shared.parts.models.resolve(&self.live.snapshot().definition.agent.llm)?;
        Ok(Arc::clone(self.model.insert(model)))
    }

    fn publish(&self, at: UtcTime, published: Published) {
        let Published { frames, calls, title, tags, has_new_secrets } = published;
        let mut snapshot = (*self.live.snapshot()).clone();
        snapshot.updated_at = at;
        snapshot.progress = self.machine.progress().clone();
        if title.is_some() {
            snapshot.title = title;
        }
        if let Some(tags) = tags {
            snapshot.tags = Arc::new(tags);
        }
        if has_new_secrets {
            snapshot.secrets = Arc::new(self.machine.secrets().clone());
        }
        self.live.publish(snapshot, calls, frames);
    }

    /// Stores the truth about what the last server left unfinished.
    async fn recover(&mut self) -> Result<(), longshore_store::Error> {
        let effects = self.machine.recover(&mut self.shared.parts.clock.clone());
        self.perform(effects.into()).await
    }
}

/// What a run that waits hears next; never for one that does not wait.
async fn standing(ticket: &mut Option<Ticket>) -> Standing {
    match ticket {
        Some(ticket) => ticket.standing().await,
        None => std::future::pending().await,
    }
}

/// The next thing that happens to a place; never for one that nothing happens to. What a slow listener missed is in the log
/// of the place.
async fn next(news: &mut Option<broadcast::Receiver<SandboxEvent>>) -> SandboxEvent {
    while let Some(receiver) = news {
        match receiver.recv().await {
            Ok(event) => return event,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => *news = None,
        }
    }
    std::future::pending().await
}

fn shorten(line: &str) -> String {
    if line.chars().count() <= TITLE_LEN {
        return line.to_owned();
    }
    line.chars().take(TITLE_LEN - 3).chain("...".chars()).collect()
}
