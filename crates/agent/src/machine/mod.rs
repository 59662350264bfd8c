//! The state machine of a conversation.
//!
//! ```text
//!                      message                          message (rejects what waits)
//!            ┌────────────────────────┐   ┌──────────────────────────────────────────┐
//!            ▼                        │   ▼                                          │
//!         ┌──────┐  run          ┌──────────┐      finish, plain text         ┌──────┴──────────┐
//!  ──────►│ idle ├──────────────►│          ├────────────────────────────────►│ finished, stuck │
//!         └──┬───┘               │          │      in circles                 └─────────────────┘
//!      pause │   ┌───────────────┤ running  │
//!            ▼   ▼    pause,     │          │      failure, limit             ┌───────┐
//!         ┌────────┐  interrupt  │          ├────────────────────────────────►│ error │
//!         │ paused ├────────────►│          │◄────────────────────────────────┤       │
//!         └────────┘  run        └─┬──────▲─┘      run                        └───────┘
//!                       must ask   │      │  run, accept
//!                                  ▼      │
//!                        ┌──────────────────────────┐  reject
//!                        │ waiting_for_confirmation ├──────────► idle
//!                        └──────────────────────────┘
//! ```
//!
//! Beside the status there is the [`Phase`]: whether the model or tools are at work. A pause changes the status at once and
//! lets the phase run out: the model's answer and the results of actions that had begun are kept, and nothing new begins. An
//! interrupt ends the phase too.

mod batch;

use std::sync::Arc;

use indexmap::IndexMap;
use longshore_protocol::{
    Agent, Content, Event, EventBody, EventTime, Message, Observation, Role, Source, TextContent,
    agent::SecretSource,
    confirmation::{ConfirmationPolicy, ConfirmationResponse, Risk, SecurityAnalyzer},
    conversation::{ExecutionStatus, Progress},
    error::ErrorClassification,
    event::{
        ActionEvent, AgentErrorEvent, ConversationErrorEvent, ConversationStateUpdateEvent, InterruptEvent,
        MessageEvent, PauseEvent, RejectionSource, SecurityAnalysisEvent, SystemPromptEvent, UserRejectObservation,
    },
    message::ToolCall,
    metrics::Call,
    nulls,
    tool::ToolSchema,
};
use serde::Deserialize as _;
use serde_json::Value;

use self::batch::{Pending, Work};
use crate::{
    ActFailure, Appended, Effect, Question, ToolInfo, World, call,
    mask::Mask,
    prompt,
    stuck::{StuckDetector, Verdict},
    view::View,
};

const EMPTY_REPLY: &str = "Your last reply had neither text nor a tool call. Go on with the task by calling a tool, or say that you are done.";
const SAME_FAILURE: &str =
    "The same call failed several times in a row. Do not repeat it: find out why it fails, or try another way.";
const INTERRUPTED: &str = "Tool call interrupted before completion: the user stopped the run.";
const RESTARTED: &str = "A restart of the server cut this tool call off while it was in progress. Whether it had an effect \
                         is unknown: check before you go on.";
const SUPERSEDED: &str = "Superseded by a new user message";

/// What a conversation is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its tools, in the order the model sees them.
    pub tools: Vec<ToolInfo>,
    /// Its instructions: [`prompt::system_prompt`].
    pub instructions: String,
    /// Model calls that one run may make.
    pub max_iterations: u64,
    /// Whether to stop an agent that goes in circles.
    pub stuck_detection: bool,
    /// The conversation's secrets, by name.
    pub secrets: IndexMap<String, SecretSource>,
}

/// A conversation: what it is doing and what it knows.
#[derive(Debug)]
pub struct Machine {
    setup: Setup,
    /// The tools as the model sees them.
    schemas: Arc<[ToolSchema]>,
    progress: Progress,
    mask: Mask,
    view: View,
    detector: StuckDetector,
    /// Actions without a result, in order.
    pending: Vec<Pending>,
    phase: Phase,
    has_instructions: bool,
    /// Model calls of this run.
    iterations: u64,
    /// Whether the user said something that the model has not read.
    has_unread: bool,
    last_time: Option<EventTime>,
    /// The status at the point that [`Machine::replay`] has reached.
    replayed_status: ExecutionStatus,
}

/// Who is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody.
    Resting,
    /// The model.
    Asking,
    /// Tools.
    Acting,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The response's id.
    pub response_id: String,
    /// Text, reasoning and tool calls.
    pub message: Message,
    /// What it cost.
    pub call: Call,
}

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which failure it is.
    pub code: String,
    /// Why.
    pub detail: String,
    /// What kind of failure it is.
    pub classification: ErrorClassification,
}

/// What came of an action.
pub type ToolResult = Result<Observation, ActFailure>;

/// A run was asked for while there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Conversation already running. Wait for completion or pause first.")]
pub struct AlreadyRunning;

/// What a method may use and what it gives out.
struct Turn<'a> {
    world: &'a mut dyn World,
    effects: Vec<Effect>,
}

impl<'a> Turn<'a> {
    fn new(world: &'a mut dyn World) -> Self {
        Self { world, effects: Vec::new() }
    }
}

impl Machine {
    /// A conversation with what it has stored. Events are then given to [`Machine::replay`] in order.
    pub fn new(setup: Setup, progress: Progress) -> Self {
        let schemas = call::schemas(&setup.tools, prompt::asks_for_risk(&setup.agent)).into();
        Self {
            setup,
            schemas,
            progress,
            mask: Mask::default(),
            view: View::default(),
            detector: StuckDetector::default(),
            pending: Vec::new(),
            phase: Phase::Resting,
            has_instructions: false,
            iterations: 0,
            has_unread: false,
            last_time: None,
            replayed_status: ExecutionStatus::Idle,
        }
    }

    /// Takes in an event of the log. `arguments` are those of a tool call as the model wrote them, if the event hides part
    /// of them.
    pub fn replay(&mut self, event: &Event, arguments: Option<&str>) {
        self.last_time = Some(event.timestamp);
        self.take_in(event, arguments);
        if let EventBody::ActionEvent(action) = &event.body
            && let Some(shown) = &action.action
        {
            let raw = arguments.and_then(|raw| call::parse(&self.setup.tools, &action.tool_name, raw).ok());
            let is_running = self.replayed_status == ExecutionStatus::Running;
            self.pending.push(Pending {
                action_id: event.id.clone(),
                tool: action.tool_name.clone(),
                call_id: action.tool_call_id.clone(),
                action: raw.map_or_else(|| shown.clone(), |call| call.action),
                work: if is_running { Work::Unknown } else { Work::Waiting },
            });
        }
        self.replay_status(event);
    }

    /// Actions begin while the conversation runs, and the log does not say how far they came: those that were open then, and
    /// did not wait for the user, may have had an effect.
    fn replay_status(&mut self, event: &Event) {
        let EventBody::ConversationStateUpdateEvent(update) = &event.body else { return };
        if update.key != "execution_status" {
            return;
        }
        let Ok(status) = ExecutionStatus::deserialize(&update.value) else { return };
        self.replayed_status = status;
        for pending in &mut self.pending {
            match status {
                ExecutionStatus::Running => pending.work = Work::Unknown,
                ExecutionStatus::WaitingForConfirmation => pending.work = Work::Waiting,
                _ => {}
            }
        }
    }

    /// Tells the truth about a run that the server did not survive, and about actions that were under way when the user had
    /// paused it: nothing that may have had an effect is done twice.
    pub fn recover(&mut self, world: &mut dyn World) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        if self.progress.execution_status == ExecutionStatus::Running {
            self.fail_pending(&mut turn, RESTARTED, &ErrorClassification::internal());
            self.set_status(&mut turn, ExecutionStatus::Error);
        }
        let (unknown, waiting) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| matches!(pending.work, Work::Unknown));
        self.pending = unknown;
        self.fail_pending(&mut turn, RESTARTED, &ErrorClassification::internal());
        self.pending = waiting;
        turn.effects
    }

    /// The stored part of the state.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the conversation is doing.
    pub fn status(&self) -> ExecutionStatus {
        self.progress.execution_status
    }

    /// Whether the model or tools are at work.
    pub fn is_resting(&self) -> bool {
        self.phase == Phase::Resting
    }

    /// The conversation's secrets, by name.
    pub fn secrets(&self) -> &IndexMap<String, SecretSource> {
        &self.setup.secrets
    }

    /// Adds or replaces secrets.
    pub fn set_secrets(&mut self, secrets: IndexMap<String, SecretSource>) {
        self.setup.secrets.extend(secrets);
    }

    /// Sets the values that are hidden in events from now on.
    pub fn set_mask(&mut self, mask: Mask) {
        self.mask = mask;
    }

    /// The values that are hidden in events.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The user says something. Actions that wait for the user are rejected: what they were for may no longer hold.
    pub fn message(&mut self, world: &mut dyn World, message: Message) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        self.give_instructions(&mut turn);
        match self.progress.execution_status {
            ExecutionStatus::WaitingForConfirmation => {
                self.set_status(&mut turn, ExecutionStatus::Idle);
                self.reject_pending(&mut turn, SUPERSEDED);
            }
            ExecutionStatus::Finished | ExecutionStatus::Stuck => self.set_status(&mut turn, ExecutionStatus::Idle),
            _ => {}
        }
        let mut event = MessageEvent::new(message);
        if let Some(context) = &self.setup.agent.agent_context {
            let active = &self.progress.activated_knowledge_skills;
            let augmentation = prompt::augment(context, &event.llm_message.text(), active);
            event.extended_content.extend(augmentation.text.map(TextContent::new));
            self.progress.activated_knowledge_skills.extend(augmentation.activated.iter().cloned());
            event.activated_skills = augmentation.activated;
        }
        let id = self.append(&mut turn, Source::User, event.into());
        self.progress.last_user_message_id = Some(id.clone());
        self.tell(&mut turn, "last_user_message_id", id.into());
        self.has_unread = true;
        turn.effects
    }

    /// Starts a run, or goes on with a paused one; what waits for the user is thereby accepted. A finished conversation has
    /// nothing to do.
    ///
    /// # Errors
    /// [`AlreadyRunning`].
    pub fn run(&mut self, world: &mut dyn World) -> Result<Vec<Effect>, AlreadyRunning> {
        let mut effects = self.run_later(world)?;
        effects.extend(self.begin(world));
        Ok(effects)
    }

    /// Starts a run that waits for [`Machine::begin`]: it counts as running, and nobody is at work. Otherwise as
    /// [`Machine::run`].
    ///
    /// # Errors
    /// [`AlreadyRunning`].
    pub fn run_later(&mut self, world: &mut dyn World) -> Result<Vec<Effect>, AlreadyRunning> {
        let mut turn = Turn::new(world);
        match self.progress.execution_status {
            ExecutionStatus::Running => return Err(AlreadyRunning),
            ExecutionStatus::Finished => turn.effects.push(Effect::Settled),
            _ => {
                self.give_instructions(&mut turn);
                self.iterations = 0;
                self.set_status(&mut turn, ExecutionStatus::Running);
            }
        }
        Ok(turn.effects)
    }

    /// Takes the first step of a run that waits. Does nothing unless there is one.
    pub fn begin(&mut self, world: &mut dyn World) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        self.proceed(&mut turn);
        turn.effects
    }

    /// Stops the run at the next step. What is under way ends by itself.
    pub fn pause(&mut self, world: &mut dyn World) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        if matches!(self.progress.execution_status, ExecutionStatus::Idle | ExecutionStatus::Running) {
            self.set_status(&mut turn, ExecutionStatus::Paused);
            self.append(&mut turn, Source::User, PauseEvent {}.into());
        }
        turn.effects.push(Effect::Settled);
        turn.effects
    }

    /// Stops the run at once. What is under way is broken off.
    pub fn interrupt(&mut self, world: &mut dyn World) -> Vec<Effect> {
        if self.phase == Phase::Resting {
            return self.pause(world);
        }
        let mut turn = Turn::new(world);
        turn.effects.push(Effect::Abort);
        self.phase = Phase::Resting;
        self.fail_pending(&mut turn, INTERRUPTED, &ErrorClassification::agent_action());
        self.set_status(&mut turn, ExecutionStatus::Paused);
        self.append(&mut turn, Source::User, InterruptEvent {}.into());
        turn.effects.push(Effect::Settled);
        turn.effects
    }

    /// The user accepts or rejects the actions that wait.
    pub fn confirm(&mut self, world: &mut dyn World, response: &ConfirmationResponse) -> Vec<Effect> {
        if response.accept {
            return self.run(world).unwrap_or_default();
        }
        let mut turn = Turn::new(world);
        if self.progress.execution_status == ExecutionStatus::WaitingForConfirmation {
            self.set_status(&mut turn, ExecutionStatus::Idle);
        }
        if self.phase == Phase::Resting {
            self.reject_pending(&mut turn, &response.reason);
        }
        turn.effects
    }

    /// Changes which actions wait for the user.
    pub fn set_confirmation_policy(&mut self, world: &mut dyn World, policy: ConfirmationPolicy) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        let value = nulls::to_value(&policy).unwrap_or_default();
        self.progress.confirmation_policy = policy;
        self.tell(&mut turn, "confirmation_policy", value);
        turn.effects
    }

    /// Changes who judges actions.
    pub fn set_security_analyzer(&mut self, world: &mut dyn World, analyzer: Option<SecurityAnalyzer>) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        let value = nulls::to_value(&analyzer).unwrap_or_default();
        self.progress.security_analyzer = analyzer;
        self.tell(&mut turn, "security_analyzer", value);
        turn.effects
    }

    /// Tells readers of the log that a field which the machine does not hold has a new value.
    pub fn field_changed(&mut self, world: &mut dyn World, field: &str, value: Value) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        self.tell(&mut turn, field, value);
        turn.effects
    }

    /// The model answered, or could not. An answer that nobody waits for is dropped.
    pub fn answered(&mut self, world: &mut dyn World, answer: Result<Answer, Failure>) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        if self.phase != Phase::Asking {
            return turn.effects;
        }
        self.phase = Phase::Resting;
        self.iterations += 1;
        match answer {
            Ok(answer) => self.take_answer(&mut turn, answer),
            Err(failure) => self.fail_run(&mut turn, failure),
        }
        turn.effects
    }

    /// An action has a result. A result that nobody waits for is dropped.
    pub fn acted(&mut self, world: &mut dyn World, action_id: &str, result: ToolResult) -> Vec<Effect> {
        let mut turn = Turn::new(world);
        self.take_result(&mut turn, action_id, result);
        turn.effects
    }

    fn take_answer(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        self.progress.stats.record(&answer.call);
        let stats = nulls::to_value(&self.progress.stats).unwrap_or_default();
        self.tell(turn, "stats", stats);
        if answer.message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()) {
            self.take_calls(turn, answer);
            return;
        }
        let has_text = answer.message.content.iter().filter_map(Content::as_text).any(|text| !text.trim().is_empty());
        let mut message = MessageEvent::new(Message { role: Role::Assistant, ..answer.message });
        message.llm_response_id = Some(answer.response_id);
        self.append(turn, Source::Agent, message.into());
        if has_text {
            self.finish(turn);
        } else {
            self.nudge(turn, EMPTY_REPLY);
            self.proceed(turn);
        }
    }

    /// Notes the calls of an answer and carries them out, or waits for the user.
    fn take_calls(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        let mut invalid = Vec::new();
        let mut risks = IndexMap::new();
        let mut about_answer = Some(answer.message);
        let calls = about_answer.as_mut().and_then(|message| message.tool_calls.take()).unwrap_or_default();
        for tool_call in calls {
            let parsed = call::parse(&self.setup.tools, &tool_call.name, &tool_call.arguments);
            let (tool, arguments) = match &parsed {
                Ok(call) => (call.tool.clone(), call.arguments.clone()),
                Err(error) => (error.tool.clone(), error.arguments.clone()),
            };
            let risk = match &parsed {
                Ok(call) if self.progress.security_analyzer.is_some() => call.risk,
                _ => Risk::Unknown,
            };
            let first = about_answer.take().unwrap_or_default();
            let event = ActionEvent {
                thought: texts(first.content),
                reasoning_content: first.reasoning_content,
                thinking_blocks: first.thinking_blocks,
                responses_reasoning_item: first.responses_reasoning_item,
                action: parsed.as_ref().ok().map(|call| call.action.clone()),
                tool_name: tool.clone(),
                tool_call_id: tool_call.id.clone(),
                tool_call: ToolCall { name: tool.clone(), arguments, ..tool_call },
                llm_response_id: answer.response_id.clone(),
                security_risk: risk,
                critic_result: None,
                summary: parsed.as_ref().ok().map(|call| call.summary.clone()),
            };
            let call_id = event.tool_call_id.clone();
            let action_id = self.append(turn, Source::Agent, event.into());
            match parsed {
                Ok(call) => {
                    risks.insert(action_id.clone(), risk);
                    self.pending.push(Pending { action_id, tool, call_id, action: call.action, work: Work::Waiting });
                }
                Err(error) => invalid.push((tool, call_id, error.error)),
            }
        }
        for (tool_name, tool_call_id, error) in invalid {
            let classification = ErrorClassification::agent_action();
            let event = AgentErrorEvent { tool_name, tool_call_id, error, classification };
            self.append(turn, Source::Agent, event.into());
        }
        self.judge(turn, risks);
    }

    /// Decides whether the calls of an answer wait for the user.
    fn judge(&mut self, turn: &mut Turn<'_>, risks: IndexMap<String, Risk>) {
        let policy = &self.progress.confirmation_policy;
        let is_harmless = self.pending.iter().all(Pending::is_about_conversation);
        let must_ask = !is_harmless && risks.values().any(|risk| policy.requires_confirmation(*risk));
        if let Some(analyzer) = self.progress.security_analyzer.as_ref().filter(|_| !is_harmless) {
            let event = SecurityAnalysisEvent {
                analyzer: analyzer.kind().to_owned(),
                policy: policy.kind().to_owned(),
                risks,
                details: serde_json::Map::new(),
            };
            self.append(turn, Source::Environment, event.into());
        }
        if must_ask && self.has_unread {
            self.reject_pending(turn, SUPERSEDED);
            self.proceed(turn);
        } else if must_ask {
            self.set_status(turn, ExecutionStatus::WaitingForConfirmation);
            turn.effects.push(Effect::Settled);
        } else {
            self.proceed(turn);
        }
    }

    /// Takes the next step of a run, unless somebody is at work or there is no run.
    fn proceed(&mut self, turn: &mut Turn<'_>) {
        if self.phase != Phase::Resting || self.progress.execution_status != ExecutionStatus::Running {
            return;
        }
        if !self.pending.is_empty() {
            self.phase = Phase::Acting;
            self.advance_batch(turn);
            return;
        }
        if self.iterations >= self.setup.max_iterations {
            let code = "MaxIterationsReached".to_owned();
            let detail = format!("Agent reached maximum iterations limit ({}).", self.setup.max_iterations);
            let classification = ErrorClassification::of_code(&code);
            self.fail_run(turn, Failure { code, detail, classification });
            return;
        }
        if self.setup.stuck_detection {
            match self.detector.verdict() {
                Verdict::Progress => {}
                Verdict::Nudge => self.nudge(turn, SAME_FAILURE),
                Verdict::Stuck => {
                    self.set_status(turn, ExecutionStatus::Stuck);
                    turn.effects.push(Effect::Settled);
                    return;
                }
            }
        }
        self.has_unread = false;
        self.phase = Phase::Asking;
        let question = Question { messages: self.view.messages(), tools: Arc::clone(&self.schemas) };
        turn.effects.push(Effect::Ask(question));
    }

    /// Ends the run well, unless the user said something that the model has not read.
    fn finish(&mut self, turn: &mut Turn<'_>) {
        if self.has_unread && self.progress.execution_status == ExecutionStatus::Running {
            self.proceed(turn);
        } else {
            self.set_status(turn, ExecutionStatus::Finished);
            turn.effects.push(Effect::Settled);
        }
    }

    /// Ends the run badly. The error stands in the log before the status that points to it.
    fn fail_run(&mut self, turn: &mut Turn<'_>, failure: Failure) {
        let Failure { code, detail, classification } = failure;
        let event = ConversationErrorEvent { code, detail, classification: Some(classification) };
        self.append(turn, Source::Environment, event.into());
        self.set_status(turn, ExecutionStatus::Error);
        turn.effects.push(Effect::Settled);
    }

    fn nudge(&mut self, turn: &mut Turn<'_>, text: &str) {
        let message = Message::new(Role::User, vec![Content::text(text)]);
        self.append(turn, Source::Environment, MessageEvent::new(message).into());
    }

    fn reject_pending(&mut self, turn: &mut Turn<'_>, reason: &str) {
        for pending in std::mem::take(&mut self.pending) {
            let event = UserRejectObservation {
                tool_name: pending.tool,
                tool_call_id: pending.call_id,
                rejection_reason: reason.to_owned(),
                rejection_source: RejectionSource::User,
                action_id: pending.action_id,
            };
            self.append(turn, Source::Environment, event.into());
        }
    }

    fn fail_pending(&mut self, turn: &mut Turn<'_>, error: &str, classification: &ErrorClassification) {
        for pending in std::mem::take(&mut self.pending) {
            self.append_failure(turn, &pending, error.to_owned(), classification.clone());
        }
    }

    fn append_failure(
        &mut self,
        turn: &mut Turn<'_>,
        pending: &Pending,
        error: String,
        classification: ErrorClassification,
    ) {
        let (tool_name, tool_call_id) = (pending.tool.clone(), pending.call_id.clone());
        let event = AgentErrorEvent { tool_name, tool_call_id, error, classification };
        self.append(turn, Source::Agent, event.into());
    }

    /// Writes the instructions, once.
    fn give_instructions(&mut self, turn: &mut Turn<'_>) {
        if self.has_instructions {
            return;
        }
        let agent = Arc::clone(&self.setup.agent);
        let time = turn.world.time().to_string();
        let secrets = self.setup.secrets.iter().map(|(name, source)| (name.as_str(), source));
        let dynamic_context = prompt::dynamic_context(&agent, secrets, &time[..16]).map(TextContent::new);
        let event = SystemPromptEvent {
            system_prompt: TextContent::new(self.setup.instructions.clone()),
            tools: self.setup.tools.iter().map(|tool| tool.definition.clone()).collect(),
            dynamic_context,
        };
        self.append(turn, Source::Agent, event.into());
    }

    fn set_status(&mut self, turn: &mut Turn<'_>, status: ExecutionStatus) {
        if self.progress.execution_status != status {
            self.progress.execution_status = status;
            self.tell(turn, "execution_status", status.as_str().into());
        }
    }

    /// Tells readers of the log that a field of the state has a new value.
    fn tell(&mut self, turn: &mut Turn<'_>, key: &str, value: Value) {
        self.append(turn, Source::Environment, ConversationStateUpdateEvent { key: key.to_owned(), value }.into());
    }

    /// Appends an event behind all others and returns its id.
    fn append(&mut self, turn: &mut Turn<'_>, source: Source, body: EventBody) -> String {
        let now = turn.world.time();
        let timestamp = self.last_time.map_or(now, |last| now.max(last.next()));
        self.last_time = Some(timestamp);
        let id = turn.world.id();
        let parent_id = self.progress.leaf_event_id.clone();
        let raw = match &body {
            EventBody::ActionEvent(action) if !self.mask.is_empty() => Some(action.tool_call.arguments.clone()),
            _ => None,
        };
        let mut event = Event { id: id.clone(), timestamp, source, parent_id, body };
        self.mask.event(&mut event);
        let arguments = raw.filter(|raw| match &event.body {
            EventBody::ActionEvent(action) => action.tool_call.arguments != *raw,
            _ => false,
        });
        self.take_in(&event, arguments.as_deref());
        turn.effects.push(Effect::Append(Appended { event: Arc::new(event), arguments }));
        id
    }

    /// Brings everything that is derived from the log up to date with one more event.
    fn take_in(&mut self, event: &Event, arguments: Option<&str>) {
        self.view.push(event, arguments);
        self.detector.push(event);
        match &event.body {
            EventBody::SystemPromptEvent(_) => self.has_instructions = true,
            EventBody::ObservationEvent(it) => self.settle(&it.tool_call_id),
            EventBody::AgentErrorEvent(it) => self.settle(&it.tool_call_id),
            EventBody::UserRejectObservation(it) => self.settle(&it.tool_call_id),
            _ => {}
        }
        if !matches!(event.body, EventBody::ConversationStateUpdateEvent(_)) {
            self.progress.leaf_event_id = Some(event.id.clone());
        }
    }

    fn settle(&mut self, call_id: &str) {
        self.pending.retain(|pending| pending.call_id != call_id);
    }
}

fn texts(content: Vec<Content>) -> Vec<TextContent> {
    content
        .into_iter()
        .filter_map(|part| match part {
            Content::Text(text) if !text.text.is_empty() => Some(text),
            Content::Text(_) | Content::Image(_) => None,
        })
        .collect()
}
