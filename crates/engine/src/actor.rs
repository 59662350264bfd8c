//! The task that owns a conversation.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use longshore_agent::{
    Appended, Effect, Machine, World,
    mask::{Mask, StreamMask},
};
use longshore_llm::{Delta, Model};
use longshore_protocol::{
    Message, Source, UtcTime, agent::SecretSource, conversation::ExecutionStatus, event::StreamingDeltaEvent,
    metrics::Call,
};
use longshore_store::{Commit, NewEvent, Seq};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use crate::{
    Error,
    conversations::Shared,
    feed::{Closed, Frame},
    jobs::{Jobs, Report},
    live::{Live, Reply, Wish},
    lookup,
    toolbox::Toolbox,
};

/// Characters of a title that is made from a message.
const TITLE_LEN: usize = 50;

/// A run that ends so soon may end before the client that asked for it listens for the end.
const SHORT_RUN: Duration = Duration::from_secs(1);
/// After this time the state is shown to such a client once more.
const REMINDER: Duration = Duration::from_millis(400);

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
    pub(crate) mailbox: mpsc::Receiver<(Wish, Reply)>,
    pub(crate) tail: Seq,
    /// Held while the conversation runs.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Values of secrets that another server gave out.
    pub(crate) learned: Vec<String>,
    pub(crate) streams: Streams,
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
    title: Option<String>,
    tags: Option<IndexMap<String, String>>,
    has_new_secrets: bool,
}

impl From<Vec<Effect>> for Work {
    fn from(effects: Vec<Effect>) -> Self {
        Self { effects, ..Self::default() }
    }
}

impl Actor {
    /// Works until the conversation leaves memory.
    pub(crate) async fn run(mut self) {
        let reason = self.work().await;
        self.jobs.abort();
        self.shared.forget(&self.live);
        self.live.feed.close(reason);
        // Whoever still has a wish finds the mailbox closed and loads the conversation again.
        drop(self.mailbox);
        self.toolbox.close().await;
    }

    async fn work(&mut self) -> Closed {
        let ttl = self.shared.options.idle_ttl;
        let mut leave_at = Instant::now() + ttl;
        loop {
            let is_sound = tokio::select! {
                Some((wish, reply)) = self.mailbox.recv() => {
                    leave_at = Instant::now() + ttl;
                    if let Wish::Stop(reason) = wish {
                        self.stop(reason, reply).await;
                        return reason;
                    }
                    self.grant(wish, reply).await
                }
                Some(report) = self.reports.recv() => {
                    leave_at = Instant::now() + ttl;
                    self.take(report).await
                }
                () = tokio::time::sleep_until(leave_at) => {
                    if self.can_leave() {
                        return Closed::Failed;
                    }
                    leave_at = Instant::now() + LEAVE_RETRY.min(ttl);
                    true
                }
            };
            if !is_sound {
                // What the machine believes and what is stored may differ now, so the stored log is read again.
                return Closed::Failed;
            }
        }
    }

    /// Whether nobody would notice if the conversation were only a row.
    fn can_leave(&self) -> bool {
        self.machine.is_resting()
            && self.machine.status() != ExecutionStatus::Running
            && Arc::strong_count(&self.live.readers) == 1
            && self.mailbox.is_empty()
    }

    async fn stop(&mut self, reason: Closed, reply: Reply) {
        let is_busy = !self.machine.is_resting() || self.machine.status() == ExecutionStatus::Running;
        let result = if is_busy && reason == Closed::Stopping {
            let world = &mut self.shared.parts.clock.clone();
            let mut effects = self.machine.pause(world);
            effects.extend(self.machine.interrupt(world));
            self.perform(effects.into()).await
        } else {
            Ok(())
        };
        self.jobs.abort();
        let _ = reply.send(result);
    }

    /// Does what somebody wants and tells them. False if the conversation does not survive it.
    async fn grant(&mut self, wish: Wish, reply: Reply) -> bool {
        let result = match self.decide(wish) {
            Ok((work, refusal)) => self.perform(work).await.and(refusal.map_or(Ok(()), Err)),
            Err(error) => Err(error),
        };
        let is_sound = self.survives(&result);
        let _ = reply.send(result);
        is_sound
    }

    /// Whether the conversation can go on after this: not if something could not be stored.
    fn survives(&self, result: &Result<(), Error>) -> bool {
        let Err(error @ Error::Store(_)) = result else { return true };
        let error: &dyn std::error::Error = error;
        tracing::error!(conversation.id = %self.live.id, error, "a conversation stopped: it could not be stored");
        false
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
                self.add_secrets(secrets);
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
            Wish::Stop(_) => Work::default(),
        };
        Ok((work, refusal))
    }

    /// Starts a run if one more may run.
    fn start(&mut self, world: &mut dyn World) -> Result<Vec<Effect>, Error> {
        if self.permit.is_none() {
            let permit = Arc::clone(&self.shared.runs).try_acquire_owned().map_err(|_| Error::AtCapacity)?;
            self.permit = Some(permit);
        }
        self.began = Some(Instant::now());
        self.machine.run(world).map_err(|_| Error::AlreadyRunning)
    }

    fn title_for(&self, message: &Message) -> Option<String> {
        let snapshot = self.live.snapshot();
        let has_none = snapshot.definition.autotitle && snapshot.title.is_none();
        let text = message.text();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (has_none && !line.is_empty()).then(|| shorten(&line))
    }

    fn add_secrets(&mut self, secrets: IndexMap<String, SecretSource>) {
        self.machine.set_secrets(secrets);
        self.renew_mask();
    }

    pub(crate) fn renew_mask(&mut self) {
        let values: Vec<_> = lookup::known_values(self.machine.secrets()).chain(self.learned.iter().cloned()).collect();
        self.machine.set_mask(Mask::new(values));
    }

    /// Takes in what came of a job. False if the conversation does not survive it.
    async fn take(&mut self, report: Report) -> bool {
        let mut clock = self.shared.parts.clock.clone();
        let work = match report {
            Report::Delta { generation, delta } => {
                if self.jobs.is_current(generation) {
                    self.show_delta(delta);
                }
                return true;
            }
            Report::Answered { generation, answer } => {
                if !self.jobs.is_current(generation) {
                    return true;
                }
                self.end_stream();
                let calls = answer.iter().map(|answer| answer.call.clone()).collect();
                Work { effects: self.machine.answered(&mut clock, answer), calls, ..Work::default() }
            }
            Report::Reminder => {
                if self.machine.status() != ExecutionStatus::Running {
                    self.show_state();
                }
                return true;
            }
            Report::Acted { action_id, result, learned } => {
                if learned.iter().any(|value| !self.learned.contains(value)) {
                    self.learned.extend(learned);
                    self.renew_mask();
                }
                self.machine.acted(&mut clock, &action_id, result).into()
            }
        };
        let result = self.perform(work).await;
        self.survives(&result)
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
        self.live.feed.push([Frame::Transient(self.live.transient(Source::Agent, delta.into()))]);
    }

    fn show_state(&self) {
        self.live.feed.push([Frame::Transient(self.live.full_state())]);
    }

    /// Makes durable what was decided, tells readers, and starts what was asked for.
    ///
    /// A question to the model changes nothing in the world and may leave while the log is written; an action waits until the
    /// log says that it was begun.
    async fn perform(&mut self, work: Work) -> Result<(), Error> {
        let Work { effects, calls, title, tags, has_new_secrets } = work;
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
                    let streams = self.live.snapshot().definition.agent.llm.stream;
                    let model = self.model();
                    self.jobs.ask(model, question, streams);
                }
                other @ (Effect::Act(_) | Effect::Settled) => later.push(other),
            }
        }
        if !events.is_empty() || title.is_some() || tags.is_some() || has_new_secrets {
            let at = self.shared.parts.clock.now();
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
            self.publish(at, calls, title, tags, has_new_secrets);
            self.live.feed.push(frames);
        }
        for effect in later {
            match effect {
                Effect::Act(act) => self.jobs.act(act, self.machine.secrets()),
                _ => {
                    self.show_state();
                    if self.began.take().is_some_and(|began| began.elapsed() < SHORT_RUN) {
                        self.jobs.remind(REMINDER);
                    }
                }
            }
        }
        if self.machine.is_resting() && self.machine.status() != ExecutionStatus::Running {
            self.permit = None;
        }
        Ok(())
    }

    /// The model, made when it is first asked.
    fn model(&mut self) -> Result<Arc<dyn Model>, longshore_llm::Error> {
        if let Some(model) = &self.model {
            return Ok(Arc::clone(model));
        }
        let model = self.shared.parts.models.resolve(&self.live.snapshot().definition.agent.llm)?;
        Ok(Arc::clone(self.model.insert(model)))
    }

    fn publish(
        &self,
        at: UtcTime,
        calls: Vec<Call>,
        title: Option<String>,
        tags: Option<IndexMap<String, String>>,
        has_new_secrets: bool,
    ) {
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
        self.live.publish(snapshot, calls);
    }

    /// Stores the truth about a run that the last server did not survive.
    pub(crate) async fn recover(&mut self) -> Result<(), Error> {
        let effects = self.machine.recover(&mut self.shared.parts.clock.clone());
        self.perform(effects.into()).await
    }
}

fn shorten(line: &str) -> String {
    if line.chars().count() <= TITLE_LEN {
        return line.to_owned();
    }
    line.chars().take(TITLE_LEN - 3).chain("...".chars()).collect()
}
