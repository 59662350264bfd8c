//! Who watches an engine from outside: for measurements and traces.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use longshore_protocol::metrics::Call;
use tracing::{Span, field::Empty};

use crate::{live::Live, shared::Shared};

/// Is told what happens in all conversations. Methods are called on the way of the work, so they must be quick and must
/// not wait. Nothing tells whose conversation it is.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A run begins or goes on.
    fn run_started(&self) {}

    /// A run has ended: in `paused`, `finished`, `error`, `stuck` or `waiting_for_confirmation`, or `deleted`, `stopped` with
    /// the server or `failed` to be stored.
    fn run_ended(&self, _outcome: &'static str) {}

    /// A model answered.
    fn model_answered(&self, _call: &Call) {}

    /// A model could not answer. `code` is that of the error, one of a few.
    fn model_failed(&self, _model: &str, _code: &str) {}

    /// A span of work that `cause` asked for and that may outlive it: to be in the same trace. It has a field `trace.id` for
    /// the id of that.
    fn caused(&self, _work: &Span, _cause: &Span) {}
}

/// Watches nothing.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {}

/// The observer of an engine, who may come after the engine was made.
#[derive(Debug, Default)]
pub(crate) struct Seat(OnceLock<Arc<dyn Observer>>);

impl Seat {
    /// Lets `observer` watch; the first one stays.
    pub(crate) fn take(&self, observer: Arc<dyn Observer>) {
        let _ = self.0.set(observer);
    }

    pub(crate) fn get(&self) -> &dyn Observer {
        self.0.get().map_or(&Nobody, |observer| &**observer)
    }
}

/// A run that is told to the observer, from its beginning to its end. If it is dropped it was `failed` to be stored.
pub(crate) struct Run {
    shared: Arc<Shared>,
    outcome: &'static str,
    /// What the run does is logged and traced in it.
    pub(crate) span: Span,
}

impl Run {
    /// A run of a conversation that whoever is in the current span asked for.
    pub(crate) fn begin(shared: &Arc<Shared>, live: &Live) -> Self {
        // Of the highest level, so that its ids are on every line of the log, whatever level is chosen.
        let span = tracing::error_span!(parent: None, "run", conversation.id = %live.id, user.id = &*live.owner.0, trace.id = Empty);
        shared.observer.get().caused(&span, &Span::current());
        shared.observer.get().run_started();
        Self { shared: Arc::clone(shared), outcome: "failed", span }
    }

    pub(crate) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.observer.get().run_ended(self.outcome);
    }
}
