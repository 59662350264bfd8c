//! How far a conversation is, as its events tell.

use indexmap::IndexMap;
use longshore_protocol::{
    Action, Event, EventBody, Observation, Source,
    conversation::ExecutionStatus,
    event::{ActionEvent, ConversationErrorEvent, ConversationStateUpdateEvent},
    metrics::Stats,
};

use crate::render::{Usage, in_one_line};

/// Characters that tell what is going on.
const DOING: usize = 60;

/// The code of the error that ends a run which made too many model calls.
const LIMIT: &str = "MaxIterationsReached";

/// How far a conversation is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    status: ExecutionStatus,
    /// Actions without a result, by call.
    open: IndexMap<String, ActionEvent>,
    usage: Usage,
    answer: Option<String>,
    failure: Option<ConversationErrorEvent>,
    /// What has to happen before a pause is complete.
    rest: Rest,
    /// How the latest command ended.
    exit_code: Option<i32>,
    commands: usize,
}

/// How far a pause is. The status changes at once, and what is under way ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rest {
    /// Nobody asked for a pause.
    #[default]
    NotAsked,
    /// The model is still to answer.
    AwaitsModel,
    /// A tool is still to end.
    AwaitsTool,
    /// Nothing is under way.
    Complete,
}

/// Why a conversation does not go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Finished,
    Failed,
    /// The limit of model calls was reached.
    Limit,
    Stuck,
    /// Actions wait for the user.
    Waiting,
    Paused,
}

impl Progress {
    /// What is stored of a conversation besides its events.
    pub(crate) fn restore(&mut self, status: ExecutionStatus, stats: &Stats) {
        self.status = status;
        self.usage = Usage::of(stats);
        if status == ExecutionStatus::Paused {
            self.rest = Rest::Complete;
        }
    }

    /// Takes in an event of the log.
    pub(crate) fn take(&mut self, event: &Event) {
        match &event.body {
            EventBody::ActionEvent(action) if action.action.is_some() => {
                if let Some(Action::FinishAction(finish)) = &action.action {
                    self.answer = Some(finish.message.clone());
                }
                self.open.insert(action.tool_call_id.clone(), action.clone());
            }
            EventBody::ObservationEvent(result) => {
                if let Observation::TerminalObservation(output) = &result.observation {
                    self.exit_code = output.exit_code;
                    self.commands += 1;
                }
                self.close(&result.tool_call_id);
            }
            EventBody::AgentErrorEvent(error) => self.close(&error.tool_call_id),
            EventBody::UserRejectObservation(rejection) => self.close(&rejection.tool_call_id),
            EventBody::MessageEvent(message) if event.source == Source::Agent => {
                self.answer = Some(message.llm_message.text());
            }
            EventBody::MessageEvent(_) if event.source == Source::User => self.answer = None,
            EventBody::ConversationErrorEvent(error) => {
                self.failure = Some(error.clone());
                self.reach(Rest::AwaitsModel);
            }
            EventBody::ConversationStateUpdateEvent(update) => self.update(update),
            EventBody::PauseEvent(_) => {
                // A run that is asked to pause is always in the middle of something.
                self.rest = if self.open.is_empty() { Rest::AwaitsModel } else { Rest::AwaitsTool };
            }
            EventBody::InterruptEvent(_) => self.rest = Rest::Complete,
            _ => {}
        }
    }

    /// Why the conversation does not go on by itself; nothing while it does.
    pub(crate) fn stop(&self) -> Option<Stop> {
        match self.status {
            ExecutionStatus::Finished => Some(Stop::Finished),
            ExecutionStatus::Error if self.failure.as_ref().is_some_and(|failure| failure.code == LIMIT) => {
                Some(Stop::Limit)
            }
            ExecutionStatus::Error => Some(Stop::Failed),
            ExecutionStatus::Stuck => Some(Stop::Stuck),
            ExecutionStatus::WaitingForConfirmation => Some(Stop::Waiting),
            ExecutionStatus::Paused => (self.rest == Rest::Complete).then_some(Stop::Paused),
            ExecutionStatus::Idle | ExecutionStatus::Running | ExecutionStatus::Deleting => None,
        }
    }

    pub(crate) fn status(&self) -> ExecutionStatus {
        self.status
    }

    /// Actions without a result, in order.
    pub(crate) fn open(&self) -> impl Iterator<Item = &ActionEvent> {
        self.open.values()
    }

    /// What the agent said to the user last, unless the user has answered.
    pub(crate) fn answer(&self) -> Option<&str> {
        self.answer.as_deref().filter(|answer| !answer.trim().is_empty())
    }

    /// What model calls came to.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// How many commands ended, and how the latest one did.
    pub(crate) fn commands(&self) -> (usize, Option<i32>) {
        (self.commands, self.exit_code)
    }

    /// What is going on, in a few words.
    pub(crate) fn doing(&self) -> String {
        let work = match self.open.values().next() {
            Some(action) => match (&action.summary, &action.action) {
                (_, Some(Action::TerminalAction(command))) => format!("running {}", command.command),
                (Some(summary), _) => summary.clone(),
                (None, _) => action.tool_name.clone(),
            },
            None => "thinking".to_owned(),
        };
        let work = in_one_line(&work, DOING);
        if self.status == ExecutionStatus::Paused { format!("pausing: {work}") } else { work }
    }

    fn close(&mut self, call_id: &str) {
        self.open.shift_remove(call_id);
        self.reach(Rest::AwaitsTool);
    }

    fn update(&mut self, update: &ConversationStateUpdateEvent) {
        match update.key.as_str() {
            "execution_status" => {
                if let Ok(status) = serde_json::from_value(update.value.clone()) {
                    self.status = status;
                    if status == ExecutionStatus::Running {
                        (self.rest, self.failure) = (Rest::NotAsked, None);
                    }
                }
            }
            "stats" => {
                if let Ok(stats) = serde_json::from_value::<Stats>(update.value.clone()) {
                    self.usage = Usage::of(&stats);
                }
                self.reach(Rest::AwaitsModel);
            }
            _ => {}
        }
    }

    fn reach(&mut self, awaited: Rest) {
        if self.rest == awaited {
            self.rest = Rest::Complete;
        }
    }
}
