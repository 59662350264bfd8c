//! Carrying out the actions of one answer: as many at a time as the agent allows, results in the order of the calls.

use longshore_protocol::{
    Action, Content, Observation, Source,
    error::{ErrorClassification, FailureKind, UserAction},
    event::ObservationEvent,
    observation::ClientToolObservation,
};

use super::{ExecutionStatus, Machine, Phase, ToolResult, Turn};
use crate::{Act, ActFailure, Effect, Runner, builtin};

const AFTER_FINISH: &str = "Not carried out: a call of finish in the same reply ended the turn.";

/// An action without a result in the log.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) action_id: String,
    pub(super) tool: String,
    pub(super) call_id: String,
    /// The action, secrets included.
    pub(super) action: Action,
    pub(super) work: Work,
}

/// How far an action is.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Not begun.
    Waiting,
    /// Perhaps begun by a server that is gone; [`Machine::recover`] gives such actions up.
    Unknown,
    /// Under way, with what it must not share.
    Running(Option<String>),
    /// Done; the result waits for those before it.
    Done(Box<ToolResult>),
}

impl Pending {
    /// Whether nothing but the conversation is touched.
    pub(super) fn is_about_conversation(&self) -> bool {
        builtin::observe(&self.action).is_some()
    }
}

impl Machine {
    pub(super) fn take_result(&mut self, turn: &mut Turn<'_>, action_id: &str, result: ToolResult) {
        let is_running =
            |pending: &&mut Pending| pending.action_id == action_id && matches!(pending.work, Work::Running(_));
        if let Some(pending) = self.pending.iter_mut().find(is_running) {
            pending.work = Work::Done(Box::new(result));
            self.advance_batch(turn);
        }
    }

    /// Writes the results that are next in order, begins what may begin, and ends the step when nothing is left.
    pub(super) fn advance_batch(&mut self, turn: &mut Turn<'_>) {
        if self.progress.execution_status == ExecutionStatus::Running {
            self.begin_actions(turn);
        }
        let has_finished = self.write_results(turn);
        if self.pending.iter().any(|pending| matches!(pending.work, Work::Running(_))) {
            return;
        }
        self.phase = Phase::Resting;
        if has_finished {
            self.finish(turn);
        } else {
            self.proceed(turn);
        }
    }

    fn begin_actions(&mut self, turn: &mut Turn<'_>) {
        let limit = self.setup.agent.tool_concurrency_limit;
        let mut running = 0;
        let mut taken = Vec::new();
        for pending in &self.pending {
            if let Work::Running(resource) = &pending.work {
                running += 1;
                taken.extend(resource.clone());
            }
        }
        for pending in &mut self.pending {
            let is_finish = matches!(pending.action, Action::FinishAction(_));
            if matches!(pending.work, Work::Waiting | Work::Unknown) {
                let tool = self.setup.tools.iter().find(|tool| tool.schema.name == pending.tool);
                match tool.map(|tool| &tool.runner) {
                    None => {
                        let error = format!("Tool '{}' is no longer there.", pending.tool);
                        let classification = ErrorClassification::agent_action();
                        pending.work = Work::Done(Box::new(Err(ActFailure { error, classification })));
                    }
                    Some(Runner::Machine) => {
                        let result = builtin::observe(&pending.action).ok_or_else(|| ActFailure {
                            error: format!("Tool '{}' cannot do this.", pending.tool),
                            classification: ErrorClassification::agent_action(),
                        });
                        pending.work = Work::Done(Box::new(result));
                    }
                    Some(Runner::Client) => pending.work = Work::Done(Box::new(Ok(dispatched()))),
                    Some(Runner::World(resource)) => {
                        let resource = resource(&pending.action);
                        let is_free = resource.as_ref().is_none_or(|resource| !taken.contains(resource));
                        // Calls that share something keep their order: a later one does not overtake one that waits.
                        taken.extend(resource.clone());
                        if is_free && running < limit {
                            running += 1;
                            pending.work = Work::Running(resource);
                            turn.effects.push(Effect::Act(Act {
                                action_id: pending.action_id.clone(),
                                tool: pending.tool.clone(),
                                action: pending.action.clone(),
                            }));
                        }
                    }
                }
            }
            if is_finish {
                break;
            }
        }
    }

    /// Writes results up to the first that is not there yet; true if one of them is that of `finish`.
    fn write_results(&mut self, turn: &mut Turn<'_>) -> bool {
        while let Some(Pending { work: Work::Done(_), .. }) = self.pending.first() {
            let pending = self.pending.remove(0);
            let Work::Done(result) = pending.work.clone() else { break };
            match *result {
                Ok(observation) => {
                    let has_finished = matches!(observation, Observation::FinishObservation(_));
                    let event = ObservationEvent {
                        tool_name: pending.tool,
                        tool_call_id: pending.call_id,
                        observation,
                        action_id: pending.action_id,
                        extended_content: Vec::new(),
                    };
                    self.append(turn, Source::Environment, event.into());
                    if has_finished {
                        self.fail_pending(turn, AFTER_FINISH, &ErrorClassification::agent_action());
                        return true;
                    }
                }
                Err(ActFailure { error, classification }) => {
                    let error = format!("Error executing tool '{}': {error}", pending.tool);
                    self.append_failure(turn, &pending, error, classification);
                }
            }
        }
        false
    }
}

fn dispatched() -> Observation {
    let content = vec![Content::text("Tool call dispatched to client.")];
    ClientToolObservation { content, is_error: false }.into()
}

impl ActFailure {
    /// The tool itself failed.
    pub fn internal(error: impl Into<String>) -> Self {
        let classification = ErrorClassification::new(FailureKind::Internal, false, UserAction::None);
        Self { error: error.into(), classification }
    }
}
