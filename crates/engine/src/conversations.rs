//! All conversations: those in memory and those that are rows.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use indexmap::IndexMap;
use longshore_agent::{Machine, Setup, prompt};
use longshore_protocol::{
    ConversationId, Event, EventBody,
    agent::{SecretSource, SecretValue},
    confirmation::{ConfirmationPolicy, ConfirmationResponse, SecurityAnalyzer},
    conversation::{ExecutionStatus, SendMessage, UpdateConversation},
};
use longshore_store::{ConversationQuery, EventFilter, EventQuery, Owner, Page, Store, StoredEvent};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    Error, Options, Parts, Replay, Subscription,
    actor::{Actor, Streams},
    feed::Closed,
    info::{Info, Skills, Snapshot},
    jobs::Jobs,
    live::{Live, Wish},
    toolbox::Toolbox,
};

/// Events that are read from the store at a time.
const PAGE: usize = 500;
/// How long stopping may take, whatever runs.
const STOP_TIMEOUT: Duration = Duration::from_millis(1_500);

/// All conversations of all users.
///
/// Every method that names a conversation takes its owner, and finds nothing that belongs to somebody else.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What all conversations share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) options: Options,
    pub(crate) runs: Arc<Semaphore>,
    live: Mutex<HashMap<(Owner, ConversationId), Slot>>,
    tracker: TaskTracker,
}

/// A conversation in memory, or on its way there.
type Slot = Arc<OnceCell<Arc<Live>>>;

impl Shared {
    /// Takes a conversation out of memory, if it is the one that is there.
    pub(crate) fn forget(&self, live: &Arc<Live>) {
        let mut slots = self.live.lock();
        let key = (live.owner.clone(), live.id);
        if slots.get(&key).and_then(|slot| slot.get()).is_some_and(|current| Arc::ptr_eq(current, live)) {
            slots.remove(&key);
        }
    }

    pub(crate) fn persistence_dir(&self, id: ConversationId) -> PathBuf {
        self.options.conversations_dir.join(id.hex())
    }

    pub(crate) fn persistence_text(&self, id: ConversationId) -> Arc<str> {
        self.persistence_dir(id).to_string_lossy().into()
    }
}

impl Engine {
    /// An engine over what is stored.
    pub fn new(parts: Parts, options: Options) -> Self {
        let runs = Arc::new(Semaphore::new(options.max_concurrent_runs.min(Semaphore::MAX_PERMITS)));
        let shared = Shared { parts, options, runs, live: Mutex::default(), tracker: TaskTracker::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Tells the truth about runs that the last server did not survive. To be called before anybody asks.
    ///
    /// # Errors
    /// [`Error::Store`] if the list cannot be read. A conversation that cannot be loaded is named in the log.
    pub async fn recover(&self) -> Result<(), Error> {
        for (owner, id) in self.shared.parts.store.interrupted().await? {
            if let Err(error) = self.live(&owner, id).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(conversation.id = %id, error, "an interrupted conversation could not be loaded");
            }
        }
        Ok(())
    }

    /// A conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn info(&self, owner: &Owner, id: ConversationId, skills: Skills) -> Result<Info, Error> {
        let store = &self.shared.parts.store;
        if let Some(live) = self.in_memory(owner, id) {
            if let Some(info) = live.answered(skills) {
                return Ok(info);
            }
            let children = store.children(owner, id).await?;
            return Ok(live.answer(children, skills));
        }
        let row = store.conversation(owner, id).await?.ok_or(Error::NotFound(id))?;
        let calls = store.calls(&[id]).await?.pop().unwrap_or_default();
        let children = store.children(owner, id).await?;
        Ok(Snapshot::of_row(row, self.shared.persistence_text(id)).info(&calls, children, skills))
    }

    /// A page of conversations.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, owner: &Owner, query: ConversationQuery, skills: Skills) -> Result<Page<Info>, Error> {
        let store = &self.shared.parts.store;
        let page = store.conversations(owner, query).await?;
        let ids: Vec<_> = page.items.iter().map(|row| row.id).collect();
        let calls = store.calls(&ids).await?;
        let mut items = Vec::with_capacity(ids.len());
        for (row, calls) in page.items.into_iter().zip(calls) {
            let id = row.id;
            let children = store.children(owner, id).await?;
            items.push(Snapshot::of_row(row, self.shared.persistence_text(id)).info(&calls, children, skills));
        }
        Ok(Page { items, next: page.next })
    }

    /// Conversations by id, in the order of `ids`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn get_many(
        &self,
        owner: &Owner,
        ids: &[ConversationId],
        skills: Skills,
    ) -> Result<Vec<Option<Info>>, Error> {
        let mut infos = Vec::with_capacity(ids.len());
        for id in ids {
            infos.push(match self.info(owner, *id, skills).await {
                Ok(info) => Some(info),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(infos)
    }

    /// How many conversations there are.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn count(&self, owner: &Owner, status: Option<ExecutionStatus>) -> Result<u64, Error> {
        Ok(self.shared.parts.store.count_conversations(owner, status).await?)
    }

    /// Removes a conversation with all that belongs to it, whatever it is doing; its workspace stays.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        let row = self.shared.parts.store.conversation(owner, id).await.ok().flatten();
        if !self.shared.parts.store.delete_conversation(owner, id).await? {
            return Err(Error::NotFound(id));
        }
        // From here on the task cannot store anything, so it can only stop.
        if let Some(live) = self.in_memory(owner, id) {
            self.stop(&live, Closed::Deleted).await;
        }
        if let Some(parent) = row.and_then(|row| row.parent).and_then(|parent| self.in_memory(owner, parent)) {
            parent.forget_answer();
        }
        let folder = self.shared.persistence_dir(id);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(conversation.id = %id, %error, "the folder of a deleted conversation could not be removed");
            }
            _ => {}
        }
        Ok(())
    }

    /// Says something to the agent, and perhaps begins a run.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless the user speaks, [`Error::SavedAtCapacity`].
    pub async fn send(&self, owner: &Owner, id: ConversationId, message: SendMessage) -> Result<(), Error> {
        if message.role != longshore_protocol::Role::User {
            return Err(Error::invalid("role", "Only user messages are allowed to be sent to the agent."));
        }
        let run = message.run;
        self.wish(owner, id, Wish::Say { message: message.into_message(), run }).await
    }

    /// Begins a run, or goes on with a paused one.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`], [`Error::AtCapacity`].
    pub async fn run(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        self.wish(owner, id, Wish::Run).await
    }

    /// Stops the run at the next step.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn pause(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        self.wish(owner, id, Wish::Pause).await
    }

    /// Stops the run at once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn interrupt(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        self.wish(owner, id, Wish::Interrupt).await
    }

    /// Accepts or rejects the actions that wait.
    ///
    /// # Errors
    /// [`Error::AtCapacity`].
    pub async fn confirm(
        &self,
        owner: &Owner,
        id: ConversationId,
        response: ConfirmationResponse,
    ) -> Result<(), Error> {
        self.wish(owner, id, Wish::Confirm(response)).await
    }

    /// Changes which actions wait for the user, durably.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a policy that this version does not know.
    pub async fn set_confirmation_policy(
        &self,
        owner: &Owner,
        id: ConversationId,
        policy: ConfirmationPolicy,
    ) -> Result<(), Error> {
        crate::create::check_policy(&policy)?;
        self.wish(owner, id, Wish::SetPolicy(policy)).await
    }

    /// Changes who judges actions, durably.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an analyzer that this version does not have.
    pub async fn set_security_analyzer(
        &self,
        owner: &Owner,
        id: ConversationId,
        analyzer: Option<SecurityAnalyzer>,
    ) -> Result<(), Error> {
        crate::create::check_analyzer(analyzer.as_ref())?;
        self.wish(owner, id, Wish::SetAnalyzer(analyzer)).await
    }

    /// Adds or replaces secrets.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that cannot be an environment variable.
    pub async fn update_secrets(
        &self,
        owner: &Owner,
        id: ConversationId,
        secrets: IndexMap<String, SecretValue>,
    ) -> Result<(), Error> {
        let secrets = crate::create::check_secrets(secrets)?;
        self.wish(owner, id, Wish::AddSecrets(secrets)).await
    }

    /// Changes title or labels.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub async fn update(&self, owner: &Owner, id: ConversationId, update: UpdateConversation) -> Result<(), Error> {
        let update = crate::create::check_update(update)?;
        if update == UpdateConversation::default() {
            return self.check_exists(owner, id).await;
        }
        self.wish(owner, id, Wish::Update(update)).await
    }

    /// A reader of a conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn subscribe(&self, owner: &Owner, id: ConversationId, replay: Replay) -> Result<Subscription, Error> {
        let live = self.live(owner, id).await?;
        Subscription::new(live, Arc::clone(&self.shared.parts.store), replay).await
    }

    /// A page of events.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn find_events(
        &self,
        owner: &Owner,
        id: ConversationId,
        query: EventQuery,
    ) -> Result<Page<StoredEvent>, Error> {
        self.check_exists(owner, id).await?;
        Ok(self.shared.parts.store.find_events(id, query).await?)
    }

    /// How many events match.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn count_events(&self, owner: &Owner, id: ConversationId, filter: EventFilter) -> Result<u64, Error> {
        self.check_exists(owner, id).await?;
        Ok(self.shared.parts.store.count_events(id, filter).await?)
    }

    /// Events by id, in the order of `ids`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn events_by_id(
        &self,
        owner: &Owner,
        id: ConversationId,
        ids: &[String],
    ) -> Result<Vec<Option<StoredEvent>>, Error> {
        self.check_exists(owner, id).await?;
        Ok(self.shared.parts.store.events_by_id(id, ids).await?)
    }

    /// The last thing that the agent said to the user; empty if it said nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::DamagedEvent`].
    pub async fn final_response(&self, owner: &Owner, id: ConversationId) -> Result<String, Error> {
        self.check_exists(owner, id).await?;
        let mut from = None;
        loop {
            let query = EventQuery { descending: true, from, limit: PAGE, ..EventQuery::default() };
            let page = self.shared.parts.store.find_events(id, query).await?;
            for stored in &page.items {
                if let Some(response) = response_in(&parse(id, stored)?) {
                    return Ok(response);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(String::new()),
            }
        }
    }

    /// Where a conversation works.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Workspace`].
    pub async fn workspace(
        &self,
        owner: &Owner,
        id: ConversationId,
    ) -> Result<Arc<dyn longshore_workspace::Workspace>, Error> {
        let row = self.shared.parts.store.conversation(owner, id).await?.ok_or(Error::NotFound(id))?;
        Ok(self.shared.parts.workspaces.open(owner, id, &row.definition.workspace).await?)
    }

    /// Where everything durable is.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared.parts.store)
    }

    /// How many conversations are in memory.
    pub fn in_memory_count(&self) -> usize {
        self.shared.live.lock().len()
    }

    /// Stops all conversations: what runs is broken off, stored and paused. Takes less than two seconds.
    pub async fn shutdown(&self) {
        // From here on nothing is loaded any more.
        self.shared.tracker.close();
        let all: Vec<_> = self.shared.live.lock().values().filter_map(|slot| slot.get().cloned()).collect();
        let stops = all.iter().map(|live| self.stop(live, Closed::Stopping));
        let stop_all = async {
            futures::future::join_all(stops).await;
            self.shared.tracker.wait().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, stop_all).await.is_err() {
            tracing::warn!("some conversations did not stop in time");
        }
    }

    async fn stop(&self, live: &Live, reason: Closed) {
        let (reply, answer) = oneshot::channel();
        if live.mailbox.send((Wish::Stop(reason), reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    async fn check_exists(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        if self.in_memory(owner, id).is_some() || self.shared.parts.store.conversation(owner, id).await?.is_some() {
            return Ok(());
        }
        Err(Error::NotFound(id))
    }

    /// Gives a wish to the conversation's task and waits until it is granted and stored.
    pub(crate) async fn wish(&self, owner: &Owner, id: ConversationId, wish: Wish) -> Result<(), Error> {
        let mut wish = wish;
        loop {
            let live = self.live(owner, id).await?;
            let (reply, answer) = oneshot::channel();
            match live.mailbox.send((wish, reply)).await {
                // A task that stops after it took the wish drops the reply.
                Ok(()) => return answer.await.unwrap_or(Err(Error::Stopping)),
                // The conversation just left memory.
                Err(unsent) => wish = unsent.0.0,
            }
        }
    }

    pub(crate) fn in_memory(&self, owner: &Owner, id: ConversationId) -> Option<Arc<Live>> {
        let slots = self.shared.live.lock();
        let live = slots.get(&(owner.clone(), id))?.get()?;
        (!live.mailbox.is_closed()).then(|| Arc::clone(live))
    }

    /// The conversation in memory; loads it if it is only a row.
    pub(crate) async fn live(&self, owner: &Owner, id: ConversationId) -> Result<Arc<Live>, Error> {
        let key = (owner.clone(), id);
        loop {
            if self.shared.tracker.is_closed() {
                return Err(Error::Stopping);
            }
            let slot = Arc::clone(self.shared.live.lock().entry(key.clone()).or_default());
            let loaded = slot.get_or_try_init(|| self.load(owner, id)).await.map(Arc::clone);
            match loaded {
                Ok(live) if live.mailbox.is_closed() => self.shared.forget(&live),
                Ok(live) => return Ok(live),
                Err(error) => {
                    let mut slots = self.shared.live.lock();
                    let is_ours = slots.get(&key).is_some_and(|current| Arc::ptr_eq(current, &slot));
                    // Two references mean that nobody else is loading: the map's and ours.
                    if is_ours && !slot.initialized() && Arc::strong_count(&slot) == 2 {
                        slots.remove(&key);
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn load(&self, owner: &Owner, id: ConversationId) -> Result<Arc<Live>, Error> {
        let Parts { store, tools, workspaces, http, clock, .. } = &self.shared.parts;
        let row = store.conversation(owner, id).await?.ok_or(Error::NotFound(id))?;
        let calls = store.calls(&[id]).await?.pop().unwrap_or_default();
        let workspace = workspaces.open(owner, id, &row.definition.workspace).await?;
        let folder = self.shared.persistence_dir(id);
        let (toolbox, infos) = Toolbox::new(tools, workspace, folder, &row.definition)?;
        let toolbox = Arc::new(toolbox);
        let instructions =
            prompt::system_prompt(&row.definition.agent).map_err(|error| Error::invalid("agent", error.to_string()))?;
        let setup = Setup {
            agent: Arc::new(row.definition.agent.clone()),
            tools: infos,
            instructions,
            max_iterations: row.definition.max_iterations,
            stuck_detection: row.definition.stuck_detection,
            secrets: all_secrets(&row),
        };
        let mut machine = Machine::new(setup, row.progress.clone());
        let tail = row.tail;
        let mut seq = 0;
        while seq < tail {
            let events = store.events(id, seq, PAGE).await?;
            let Some(last) = events.last() else { break };
            seq = last.seq + 1;
            for stored in &events {
                machine.replay(&parse(id, stored)?, stored.arguments.as_deref());
            }
        }
        let was_running = row.progress.execution_status == ExecutionStatus::Running;
        let snapshot = Snapshot::of_row(row, self.shared.persistence_text(id));
        let (live, mailbox) = Live::new(owner.clone(), snapshot, calls, tail, clock.clone());
        let live = Arc::new(live);
        let (jobs, reports) = Jobs::new(id, Arc::clone(&toolbox), http.clone(), self.shared.tracker.clone());
        let mut actor = Actor {
            shared: Arc::clone(&self.shared),
            live: Arc::clone(&live),
            machine,
            toolbox,
            model: None,
            jobs,
            reports,
            mailbox,
            tail,
            permit: None,
            learned: Vec::new(),
            streams: Streams::default(),
            began: None,
        };
        actor.renew_mask();
        if was_running {
            actor.recover().await?;
        }
        self.shared.tracker.spawn(actor.run());
        Ok(live)
    }
}

/// The agent's own secrets and the conversation's, which come first.
fn all_secrets(row: &longshore_store::Conversation) -> IndexMap<String, SecretSource> {
    let context = row.definition.agent.agent_context.as_ref();
    let own = context.and_then(|context| context.secrets.as_ref()).into_iter().flatten();
    let mut secrets: IndexMap<_, _> = own.map(|(name, value)| (name.clone(), value.0.clone())).collect();
    secrets.extend(row.secrets.clone());
    secrets
}

fn parse(id: ConversationId, stored: &StoredEvent) -> Result<Event, Error> {
    serde_json::from_str(&stored.json).map_err(|source| Error::DamagedEvent { id, seq: stored.seq, source })
}

fn response_in(event: &Event) -> Option<String> {
    match &event.body {
        EventBody::ActionEvent(action) if action.tool_name == longshore_agent::builtin::FINISH => {
            Some(match &action.action {
                Some(longshore_protocol::Action::FinishAction(finish)) => finish.message.clone(),
                _ => String::new(),
            })
        }
        EventBody::MessageEvent(message) if event.source == longshore_protocol::Source::Agent => {
            Some(message.llm_message.text())
        }
        _ => None,
    }
}
