//! Model calls and tools at work beside a conversation's task. They report back; they change nothing themselves.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use longshore_agent::{Act, ActFailure, Answer, Failure, Question, ToolResult};
use longshore_llm::{Delta, Model, Request, USUAL_OUTPUT};
use longshore_protocol::{ConversationId, Llm, agent::SecretSource, error::ErrorClassification};
use longshore_store::Owner;
use longshore_tools::Call;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    budget::{Amount, Asking, Ledger, Reservation},
    lookup,
    toolbox::Toolbox,
};

/// Reports that may wait for the task.
const MAX_REPORTS: usize = 64;

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Report {
    /// The model answered, or could not.
    Answered { generation: u64, answer: Result<(Answer, Reservation), Failure> },
    /// Some text of an answer.
    Delta { generation: u64, delta: Delta },
    /// An action has a result. `learned` are values of secrets that were not known before.
    Acted { action_id: String, result: ToolResult, learned: Vec<String> },
    /// The time of [`Jobs::remind`] is over.
    Reminder,
}

/// Who pays for a call of a model.
#[derive(Debug)]
pub(crate) struct Payer {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) owner: Owner,
    /// What the conversation has spent.
    pub(crate) spent: Amount,
    /// How the model is called.
    pub(crate) llm: Llm,
}

/// The jobs of one conversation.
#[derive(Debug)]
pub(crate) struct Jobs {
    conversation: ConversationId,
    toolbox: Arc<Toolbox>,
    http: longshore_outbound::Client,
    tracker: TaskTracker,
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
    /// Counts broken-off phases, so that a late report of one is not taken for a report of the next.
    generation: u64,
    /// What jobs are logged and traced in: the run that they belong to.
    pub(crate) span: Span,
}

impl Jobs {
    pub(crate) fn new(
        conversation: ConversationId,
        toolbox: Arc<Toolbox>,
        http: longshore_outbound::Client,
        tracker: TaskTracker,
    ) -> (Self, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(MAX_REPORTS);
        let cancel = CancellationToken::new();
        (Self { conversation, toolbox, http, tracker, reports, cancel, generation: 0, span: Span::none() }, receiver)
    }

    /// Whether a report belongs to what is under way.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        generation == self.generation
    }

    /// Breaks everything off. Tools stop what they started; their reports are no longer expected.
    pub(crate) fn abort(&mut self) {
        self.cancel.cancel();
        self.cancel = CancellationToken::new();
        self.generation += 1;
    }

    /// Reports after a while.
    pub(crate) fn remind(&self, after: Duration) {
        let reports = self.reports.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(after) => {
                    let _ = reports.send(Report::Reminder).await;
                }
                () = reports.closed() => {}
            }
        });
    }

    /// Asks the model, if the budgets allow it.
    pub(crate) fn ask(&self, model: Result<Arc<dyn Model>, longshore_llm::Error>, question: Question, payer: Payer) {
        let request = Request {
            conversation: self.conversation,
            messages: question.messages,
            tools: question.tools,
            max_output_tokens: None,
            meter: None,
        };
        let (reports, cancel, generation) = (self.reports.clone(), self.cancel.clone(), self.generation);
        let span = tracing::info_span!(
            parent: &self.span,
            "model_call",
            gen_ai.response.model = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            error.type = Empty,
        );
        let work = async move {
            let ask = async {
                let answer = match model {
                    Ok(model) => complete(model, request, payer, &reports, generation).await,
                    Err(error) => Err(failure(&error)),
                };
                note(answer.as_ref().map(|(answer, _)| answer));
                let _ = reports.send(Report::Answered { generation, answer }).await;
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = ask => {}
            }
        };
        self.tracker.spawn(work.instrument(span));
    }

    /// Carries an action out.
    pub(crate) fn act(&self, act: Act, secrets: &IndexMap<String, SecretSource>) {
        let Act { action_id, tool, action } = act;
        let (toolbox, http, reports) = (Arc::clone(&self.toolbox), self.http.clone(), self.reports.clone());
        let named = lookup::named_by(&action, secrets);
        let cancel = self.cancel.clone();
        let span = tracing::info_span!(parent: &self.span, "tool", tool.name = tool, action.id = action_id);
        let act = async move {
            let work = async move {
                let _awake = toolbox.stay_awake();
                let prepare = async {
                    toolbox.prepare().await;
                    lookup::resolve(&http, named).await
                };
                let secrets = tokio::select! {
                    secrets = prepare => secrets,
                    () = cancel.cancelled() => return (Err(ActFailure::internal("broken off")), Vec::new()),
                };
                let learned: Vec<_> = secrets.values().map(|value| value.expose().to_owned()).collect();
                let result = run(&toolbox, &tool, action, Call { cancel, secrets }).await;
                (result, learned)
            };
            let (result, learned) = tokio::spawn(work.in_current_span()).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a tool panicked");
                (Err(ActFailure::internal("the tool crashed; the server's log says where")), Vec::new())
            });
            let _ = reports.send(Report::Acted { action_id, result, learned }).await;
        };
        self.tracker.spawn(act.instrument(span));
    }
}

/// Tells the trace what a model call was.
fn note(answer: Result<&Answer, &Failure>) {
    let span = Span::current();
    match answer {
        Ok(Answer { call, .. }) => {
            span.record("gen_ai.response.model", &*call.usage.model);
            span.record("gen_ai.usage.input_tokens", call.usage.prompt_tokens);
            span.record("gen_ai.usage.output_tokens", call.usage.completion_tokens);
        }
        Err(failure) => {
            span.record("error.type", &*failure.code);
        }
    }
}

async fn complete(
    model: Arc<dyn Model>,
    mut request: Request,
    payer: Payer,
    reports: &mpsc::Sender<Report>,
    generation: u64,
) -> Result<(Answer, Reservation), Failure> {
    let Payer { ledger, owner, spent, llm } = payer;
    let estimate = model.estimate(&request);
    let asking =
        Asking { owner, conversation: spent, model: llm.model.clone(), usage_id: llm.usage_id.clone(), estimate };
    let reservation = ledger.reserve(asking).await?;
    request.max_output_tokens = reservation.has_limits().then_some(USUAL_OUTPUT);
    request.meter = Some(reservation.meter());
    let (deltas, mut received) = mpsc::channel(MAX_REPORTS);
    let streams = llm.stream;
    let complete = async move { model.complete(&request, streams.then_some(deltas)).await };
    let call = tokio::spawn(complete.in_current_span());
    let abort = AbortOnDrop(call.abort_handle());
    while let Some(delta) = received.recv().await {
        let (Delta::Text(text) | Delta::Reasoning(text)) = &delta;
        reservation.written(text.len());
        let _ = reports.send(Report::Delta { generation, delta }).await;
    }
    let response = call.await.map_err(|error| {
        tracing::error!(%error, "a model client panicked");
        let code = "InternalError".to_owned();
        let classification = ErrorClassification::of_code(&code);
        Failure { code, detail: "the model client crashed; the server's log says where".to_owned(), classification }
    })?;
    drop(abort);
    match response {
        Ok(response) => {
            reservation.answered(&response.call);
            let answer = Answer { response_id: response.id, message: response.message, call: response.call };
            Ok((answer, reservation))
        }
        Err(error) => Err(reservation.failed(error.may_be_billed()).unwrap_or_else(|| failure(&error))),
    }
}

/// Ends the model call when nobody waits for it any more.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failure(error: &longshore_llm::Error) -> Failure {
    Failure { code: error.code().to_owned(), detail: error.to_string(), classification: error.classification() }
}

async fn run(toolbox: &Toolbox, name: &str, action: longshore_protocol::Action, call: Call) -> ToolResult {
    let Some(tool) = toolbox.tool(name) else {
        return Err(ActFailure::internal(format!("tool '{name}' is not there")));
    };
    tool.run(action, call).await.map_err(|error| {
        let classification = match &error {
            longshore_tools::Error::Invalid(_) => ErrorClassification::agent_action(),
            longshore_tools::Error::Failed(_) => ErrorClassification::internal(),
        };
        ActFailure { error: error.to_string(), classification }
    })
}
