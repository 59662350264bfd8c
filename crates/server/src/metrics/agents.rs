//! Runs and what they ask of models.

use std::{borrow::Cow, sync::atomic::AtomicU64};

use longshore_engine::Observer;
use longshore_protocol::metrics::Call;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tracing::Span;

use super::{Metrics, models::Names};

/// Upper bounds of the classes of durations, in seconds.
const CLASSES: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

pub(super) struct Agents {
    names: Names,
    started: Counter,
    ended: Family<Ended, Counter>,
    calls: Family<Called, Counter>,
    tokens: Family<Tokens, Counter>,
    cost: Family<Model, Counter<f64, AtomicU64>>,
    duration: Family<Model, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    model: Cow<'static, str>,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    model: Cow<'static, str>,
    kind: &'static str,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            names: Names::default(),
            started: Counter::default(),
            ended: Family::default(),
            calls: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(CLASSES)),
        }
    }
}

impl Agents {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { names: _, started, ended, calls, tokens, cost, duration } = self;
        registry.register("longshore_runs_started", "Runs of agents that began", started.clone());
        registry.register("longshore_runs_ended", "Runs of agents that ended, by what came of them", ended.clone());
        registry.register(
            "longshore_model_calls",
            "Model calls that ended, by model and outcome: ok, or the code of the error",
            calls.clone(),
        );
        registry.register(
            "longshore_model_tokens",
            "Tokens of model calls, by kind: prompt (cached ones included), completion, cached",
            tokens.clone(),
        );
        registry.register("longshore_model_cost_dollars", "US dollars that model calls cost", cost.clone());
        registry.register("longshore_model_call_duration_seconds", "Time that model calls took", duration.clone());
    }
}

impl Observer for Metrics {
    fn run_started(&self) {
        self.0.agents.started.inc();
    }

    fn run_ended(&self, outcome: &'static str) {
        self.0.agents.ended.get_or_create(&Ended { outcome }).inc();
    }

    fn model_answered(&self, call: &Call) {
        let Agents { names, calls, tokens, cost, duration, .. } = &self.0.agents;
        let model = names.label(&call.usage.model);
        calls.get_or_create(&Called { model: model.clone(), outcome: "ok".to_owned() }).inc();
        for (kind, amount) in [
            ("prompt", call.usage.prompt_tokens),
            ("completion", call.usage.completion_tokens),
            ("cached", call.usage.cache_read_tokens),
        ] {
            tokens.get_or_create(&Tokens { model: model.clone(), kind }).inc_by(amount);
        }
        let model = Model { model };
        // A counter that went down, or to no number at all, would be read as a server that was started again.
        if call.cost.is_finite() && call.cost >= 0.0 {
            cost.get_or_create(&model).inc_by(call.cost);
        }
        duration.get_or_create(&model).observe(call.latency);
    }

    fn model_failed(&self, model: &str, code: &str) {
        let Agents { names, calls, .. } = &self.0.agents;
        calls.get_or_create(&Called { model: names.label(model), outcome: code.to_owned() }).inc();
    }

    fn caused(&self, work: &Span, cause: &Span) {
        if let Some(tracer) = &self.0.tracer {
            tracer.caused(work, cause);
        }
    }
}
