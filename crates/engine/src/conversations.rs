//! All conversations: those in memory and those that are rows.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use longshore_agent::{Machine, Setup, prompt};
use longshore_llm::Models;
use longshore_protocol::{
    ConversationId, Event, EventBody,
    agent::SecretValue,
    confirmation::{ConfirmationPolicy, ConfirmationResponse, SecurityAnalyzer},
    conversation::{ExecutionStatus, LocalWorkspace, SendMessage, UpdateConversation},
};
use longshore_store::{ConversationHead, ConversationQuery, EventFilter, EventQuery, Owner, Page, Store, StoredEvent};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    ActionLog, Balance, Error, Observer, Options, Parts, Replay, Runs, Subscription,
    actor::{Actor, Streams},
    info::{Info, Skills, Snapshot},
    jobs::Jobs,
    live::{Live, Wish},
    shared::Shared,
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

impl Engine {
    /// An engine over what is stored.
    pub fn new(parts: Parts, options: Options) -> Self {
        Self { shared: Arc::new(Shared::new(parts, options)) }
    }

    /// Lets `observer` watch all conversations from now on; if somebody watches already, that one stays.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.shared.observer.take(observer);
    }

    /// Tells `log` what agents do from now on; the first one stays.
    pub fn log_actions(&self, log: Arc<dyn ActionLog>) {
        self.shared.actions.log_to(log);
    }

    /// Tells the truth about runs that the last server did not survive. To be called before anybody asks.
    ///
    /// # Errors
    /// [`Error::Store`] if the list cannot be read. A conversation that cannot be loaded is named in the log.
    pub async fn recover(&self) -> Result<(), Error> {
        for (owner, id) in self.shared.parts.store.interrupted().await? {
            if let Err(error) = self.wish(&owner, id, Wish::Settle).await {
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
            let epoch = match live.answered(skills) {
                Ok(info) => return Ok(info),
                Err(epoch) => epoch,
            };
            let children = store.children(owner, id).await?;
            return Ok(live.answer(children, skills, epoch));
        }
        self.info_of_row(owner, id, skills).await
    }

    /// A conversation that is only a row.
    async fn info_of_row(&self, owner: &Owner, id: ConversationId, skills: Skills) -> Result<Info, Error> {
        let store = &self.shared.parts.store;
        let epoch = self.shared.infos.epoch();
        let row = store.conversation(owner, id).await?.ok_or(Error::NotFound(id))?;
        let row = self.settled(row).await?;
        let calls = store.calls(&[id]).await?.pop().unwrap_or_default();
        let children = store.children(owner, id).await?;
        let updated_at = row.updated_at;
        let info = Snapshot::of_row(row, self.shared.persistence_text(id)).info(&calls, children, skills);
        self.shared.infos.put((owner.clone(), id, skills), updated_at, &info, epoch);
        Ok(info)
    }

    /// A page of conversations. A damaged one is left out and named in the log, so that the others can be seen.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, owner: &Owner, query: ConversationQuery, skills: Skills) -> Result<Page<Info>, Error> {
        let heads = self.shared.parts.store.find_conversations(owner, query).await?;
        let mut items = Vec::with_capacity(heads.items.len());
        for ConversationHead { id, updated_at } in heads.items {
            if self.in_memory(owner, id).is_none()
                && let Some(info) = self.shared.infos.get(owner, id, skills, updated_at)
            {
                items.push(info);
                continue;
            }
            match self.info(owner, id, skills).await {
                Ok(info) => items.push(info),
                // It was deleted meanwhile.
                Err(Error::NotFound(_)) => {}
                Err(Error::Store(error @ longshore_store::Error::Damaged { .. })) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(conversation.id = %id, error, "a conversation is left out of a list");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Page { items, next: heads.next })
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

    /// How many conversations there are, in one workspace if it is given.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn count(
        &self,
        owner: &Owner,
        status: Option<ExecutionStatus>,
        workspace: Option<Uuid>,
    ) -> Result<u64, Error> {
        Ok(self.shared.parts.store.count_conversations(owner, status, workspace).await?)
    }

    /// Removes a conversation with all that belongs to it, whatever it is doing; its workspace stays.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        let row = self.shared.parts.store.conversation(owner, id).await.ok().flatten();
        self.erase(owner, id).await?;
        if let Some(parent) = row.and_then(|row| row.parent) {
            self.forget_answer(owner, parent);
        }
        self.shared.parts.workspaces.forget(owner, id).await;
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

    /// Says the first thing to the agent and begins a run; does nothing if something was said before.
    pub(crate) async fn begin(&self, owner: &Owner, id: ConversationId, message: SendMessage) -> Result<(), Error> {
        self.wish(owner, id, Wish::Begin(message.into_message())).await
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
        loop {
            let live = self.live(owner, id).await?;
            let reader = Arc::clone(&live.readers);
            if self.shared.holds(&live) {
                return Subscription::new(live, reader, Arc::clone(&self.shared.parts.store), replay).await;
            }
        }
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
        Ok(self.shared.parts.workspaces.open(owner, id, &row.definition.workspace).await?.workspace)
    }

    /// What a conversation works in, as it was asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn workspace_definition(&self, owner: &Owner, id: ConversationId) -> Result<LocalWorkspace, Error> {
        let row = self.shared.parts.store.conversation(owner, id).await?.ok_or(Error::NotFound(id))?;
        Ok(row.definition.workspace)
    }

    /// Where everything durable is.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared.parts.store)
    }

    /// Models by their configuration.
    pub fn models(&self) -> &Models {
        &self.shared.parts.models
    }

    /// What a user may spend on models, and what of it is gone.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn balance(&self, owner: &Owner) -> Result<Balance, Error> {
        Ok(self.shared.ledger.balance(owner).await?)
    }

    /// How long nobody has used a conversation: no time at all while one runs.
    pub fn idle(&self) -> Duration {
        if !self.shared.runs.is_empty() {
            return Duration::ZERO;
        }
        self.shared.used_at.lock().elapsed()
    }

    /// How many conversations are in memory.
    pub fn in_memory_count(&self) -> usize {
        self.shared.live.lock().values().filter(|slot| slot.initialized()).count()
    }

    /// How many conversations run, and how many wait for their turn.
    pub fn runs(&self) -> Runs {
        self.shared.runs.count()
    }

    /// Stops all conversations: what runs is broken off, stored and paused. Takes less than two seconds.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        self.shared.tracker.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.shared.tracker.wait()).await.is_err() {
            tracing::warn!("some conversations did not stop in time");
        }
    }

    /// Deletes the row. Nobody loads the conversation meanwhile, and what is in memory of it is gone afterwards.
    async fn erase(&self, owner: &Owner, id: ConversationId) -> Result<(), Error> {
        let store = &self.shared.parts.store;
        let delete_row = || async {
            match store.delete_conversation(owner, id).await {
                Ok(true) => Err(Ok(())),
                Ok(false) => Err(Err(Error::NotFound(id))),
                Err(error) => Err(Err(error.into())),
            }
        };
        loop {
            let visit = self.shared.visit(owner, id);
            let live = match visit.slot().get_or_try_init(delete_row).await {
                Ok(live) => Arc::clone(live),
                Err(outcome) => return outcome,
            };
            match live.ask(Wish::Delete).await {
                Ok(outcome) => return outcome,
                Err(_) => self.shared.forget(&live),
            }
        }
    }

    /// The row as it is when nothing claims to run that does not: a task that could not store its end left it so.
    async fn settled(&self, row: longshore_store::Conversation) -> Result<longshore_store::Conversation, Error> {
        let (owner, id) = (&row.owner, row.id);
        if row.progress.execution_status != ExecutionStatus::Running || self.in_memory(owner, id).is_some() {
            return Ok(row);
        }
        if let Err(error) = self.wish(owner, id, Wish::Settle).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(conversation.id = %id, error, "a conversation that claims to run could not be loaded");
        }
        self.shared.parts.store.conversation(owner, id).await?.ok_or(Error::NotFound(id))
    }

    /// Forgets what was answered about a conversation: something changed that its row does not show.
    pub(crate) fn forget_answer(&self, owner: &Owner, id: ConversationId) {
        self.shared.infos.forget(owner, id);
        if let Some(live) = self.in_memory(owner, id) {
            live.forget_answer();
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
            match live.ask(wish).await {
                Ok(outcome) => return outcome,
                // The conversation just left memory.
                Err(unheard) => {
                    self.shared.forget(&live);
                    wish = unheard;
                }
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
        if self.shared.stopping.is_cancelled() {
            return Err(Error::Stopping);
        }
        let visit = self.shared.visit(owner, id);
        let mut loaded = None;
        let note = &mut loaded;
        // Large, and seldom needed by the many futures that hold it.
        let load = Box::pin(async move {
            let (live, actor) = self.load(owner, id).await?;
            *note = Some(actor);
            Ok::<_, Error>(live)
        });
        let live = visit.slot().get_or_try_init(|| load).await.map(Arc::clone)?;
        // Not before it can be found, so that a task which ends at once takes out what is there.
        if let Some(actor) = loaded {
            // Of the highest level, so that its ids are on every line of the log, whatever level is chosen.
            let span = tracing::error_span!(parent: None, "conversation", conversation.id = %id, user.id = &*owner.0);
            self.shared.tracker.spawn(actor.run().instrument(span));
        }
        Ok(live)
    }

    async fn load(&self, owner: &Owner, id: ConversationId) -> Result<(Arc<Live>, Actor), Error> {
        let Parts { store, tools, workspaces, http, clock, .. } = &self.shared.parts;
        let row = store.conversation(owner, id).await?.ok_or(Error::NotFound(id))?;
        let calls = store.calls(&[id]).await?.pop().unwrap_or_default();
        let opened = workspaces.open(owner, id, &row.definition.workspace).await?;
        let folder = opened.tools_dir(&self.shared, id);
        let is_elsewhere = opened.is_elsewhere();
        let (toolbox, infos) = Toolbox::new(tools, opened.workspace, folder, &row.definition)?;
        let toolbox = Arc::new(toolbox);
        let instructions =
            prompt::system_prompt(&row.definition.agent).map_err(|error| Error::invalid("agent", error.to_string()))?;
        let setup = Setup {
            agent: Arc::new(row.definition.agent.clone()),
            tools: infos,
            instructions,
            max_iterations: row.definition.max_iterations,
            stuck_detection: row.definition.stuck_detection,
            secrets: crate::create::with_own_secrets(&row.definition, &row.secrets),
        };
        let mut machine = Machine::new(setup, row.progress.clone());
        let tail = row.tail;
        let mut seq = 0;
        while seq < tail {
            let events = store.events(id, seq, PAGE).await?;
            let Some(last) = events.last() else {
                let what = format!("the log of conversation {id}");
                let cause = format!("it ends at event {seq}, not at {tail}");
                return Err(longshore_store::Error::Damaged { what, cause }.into());
            };
            seq = last.seq + 1;
            for stored in &events {
                machine.replay(&parse(id, stored)?, stored.arguments.as_deref());
            }
        }
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
            is_elsewhere,
            news: opened.news,
            tail,
            ticket: None,
            run: None,
            learned: Vec::new(),
            place_is_lost: false,
            streams: Streams::default(),
            began: None,
        };
        actor.renew_mask();
        Ok((live, actor))
    }
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
