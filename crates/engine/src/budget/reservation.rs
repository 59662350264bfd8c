//! What is reserved for a call that is under way.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use longshore_agent::Failure;
use longshore_llm::{ErrorKind, Estimate, Meter};
use longshore_protocol::metrics::{Call, TokenUsage};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{
    Amount,
    ledger::{Asking, Seat},
};

/// Bytes of text for a token.
const BYTES_PER_TOKEN: usize = 4;

/// What is reserved for a call that is under way.
///
/// The last handle that is dropped gives back what is reserved, and stores what was spent and is not stored: attempts that a
/// provider may want money for, a call that was broken off, an answer that nobody waited for.
#[derive(Debug, Clone)]
pub(crate) struct Reservation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seat: Arc<Seat>,
    asking: Asking,
    has_limits: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Amount,
    /// Attempts that failed and that the provider may want money for.
    lost_attempts: u64,
    /// Bytes of text that the attempt under way has sent.
    written: usize,
    call: Progress,
    refusal: Option<Failure>,
}

#[derive(Debug)]
enum Progress {
    UnderWay,
    Failed,
    /// It is answered, but not stored.
    Answered(Call),
    Stored,
}

impl Reservation {
    pub(super) fn new(seat: Seat, asking: Asking, has_limits: bool) -> Self {
        let state = State {
            held: Amount::from(&asking.estimate),
            lost_attempts: 0,
            written: 0,
            call: Progress::UnderWay,
            refusal: None,
        };
        Self(Arc::new(Inner { seat: Arc::new(seat), asking, has_limits, state: Mutex::new(state) }))
    }

    /// Whether the user has any budget, so that what the call writes must be limited.
    pub(crate) fn has_limits(&self) -> bool {
        self.0.has_limits
    }

    /// Who is asked before another attempt.
    pub(crate) fn meter(&self) -> Arc<dyn Meter> {
        Arc::new(Attempts(Arc::downgrade(&self.0)))
    }

    /// Some text of an answer has come.
    pub(crate) fn written(&self, bytes: usize) {
        self.0.state.lock().written += bytes;
    }

    /// The answer is there.
    pub(crate) fn answered(&self, call: &Call) {
        self.0.state.lock().call = Progress::Answered(call.clone());
    }

    /// There is no answer. Returns why no further attempt was made, if it was a budget that forbade it.
    pub(crate) fn failed(&self, may_be_billed: bool) -> Option<Failure> {
        let mut state = self.0.state.lock();
        state.call = Progress::Failed;
        state.lost_attempts += u64::from(may_be_billed);
        state.refusal.take()
    }

    /// The answer is stored.
    pub(crate) fn stored(&self) {
        let mut state = self.0.state.lock();
        if let Progress::Answered(call) = std::mem::replace(&mut state.call, Progress::Stored) {
            self.0.seat.spend(&call);
        }
    }
}

/// Watches the attempts of a call. It keeps no reservation alive.
#[derive(Debug)]
struct Attempts(Weak<Inner>);

#[async_trait]
impl Meter for Attempts {
    async fn again(&self, may_be_billed: bool) -> Result<(), longshore_llm::Error> {
        // Without a reservation nobody waits for an answer, and the call is about to be broken off.
        let Some(inner) = self.0.upgrade().filter(|_| may_be_billed) else { return Ok(()) };
        {
            let mut state = inner.state.lock();
            state.lost_attempts += 1;
            state.written = 0;
        }
        // What the lost attempt may cost stays reserved beside what the next one may.
        match inner.seat.ledger.hold(&inner.seat, &inner.asking).await {
            Ok(_) => {
                inner.state.lock().held += Amount::from(&inner.asking.estimate);
                Ok(())
            }
            Err(failure) => {
                let error = longshore_llm::Error::new(ErrorKind::Quota, failure.detail.clone());
                inner.state.lock().refusal = Some(failure);
                Err(error)
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Self { seat, asking, state, .. } = self;
        let state = state.get_mut();
        let held = state.held;
        let mut calls = Vec::new();
        let mut lost = state.lost_attempts;
        match std::mem::replace(&mut state.call, Progress::Stored) {
            Progress::Answered(call) => calls.push(call),
            Progress::UnderWay => lost += 1,
            Progress::Failed | Progress::Stored => {}
        }
        if lost > 0 {
            calls.push(lost_call(asking, lost, state.written, seat.ledger.now()));
        }
        let seat = Arc::clone(seat);
        match Handle::try_current() {
            Ok(runtime) if !calls.is_empty() => {
                let tracker = seat.ledger.tracker.clone();
                let work = async move {
                    for call in calls {
                        charge(&seat, call).await;
                    }
                    seat.release(held);
                };
                tracker.spawn_on(work, &runtime);
            }
            _ => seat.release(held),
        }
    }
}

async fn charge(seat: &Seat, call: Call) {
    match seat.ledger.store.charge(&seat.owner, call.clone()).await {
        Ok(()) => seat.spend(&call),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(user = %seat.owner.0, error, "what a broken-off model call may cost could not be stored");
        }
    }
}

/// What attempts without an answer are taken to have cost: all that they sent, and what came back.
#[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
fn lost_call(asking: &Asking, attempts: u64, written: usize, timestamp: f64) -> Call {
    let Estimate { input_tokens, output_tokens, input_cost, cost } = asking.estimate;
    let completion_tokens = (written / BYTES_PER_TOKEN) as u64;
    let input_cost = input_cost.unwrap_or(0.0);
    let output_cost = (cost.unwrap_or(0.0) - input_cost).max(0.0) / output_tokens.max(1) as f64;
    Call {
        usage_id: asking.usage_id.clone(),
        usage: TokenUsage {
            model: asking.model.clone(),
            prompt_tokens: input_tokens.saturating_mul(attempts),
            completion_tokens,
            ..TokenUsage::default()
        },
        cost: input_cost * attempts as f64 + output_cost * completion_tokens as f64,
        latency: 0.0,
        timestamp,
    }
}
