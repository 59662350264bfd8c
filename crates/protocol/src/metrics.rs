//! What model calls cost (contract: agent §2.11).

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens of one call, or the sum of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct TokenUsage {
    /// The model's name.
    pub model: String,
    /// Tokens read, those from the cache included.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// The model's context window; 0 if unknown.
    pub context_window: u64,
    /// Prompt and completion tokens of the latest call.
    pub per_turn_token: u64,
    /// The response these tokens belong to; empty in a sum.
    pub response_id: String,
}

impl TokenUsage {
    /// Adds a call to a sum.
    pub fn add(&mut self, call: &Self) {
        self.model.clone_from(&call.model);
        self.prompt_tokens += call.prompt_tokens;
        self.completion_tokens += call.completion_tokens;
        self.cache_read_tokens += call.cache_read_tokens;
        self.cache_write_tokens += call.cache_write_tokens;
        self.reasoning_tokens += call.reasoning_tokens;
        self.context_window = self.context_window.max(call.context_window);
        self.per_turn_token = call.per_turn_token;
    }
}

/// The price of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// The model's name.
    pub model: String,
    /// US dollars.
    pub cost: f64,
    /// Seconds since the epoch.
    pub timestamp: f64,
}

/// How long one call took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseLatency {
    /// The model's name.
    pub model: String,
    /// Seconds.
    pub latency: f64,
    /// The response.
    pub response_id: String,
}

/// Totals of one usage, as sockets send them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsSnapshot {
    /// The model's name.
    #[serde(default = "default_model")]
    pub model_name: String,
    /// US dollars so far.
    #[serde(default)]
    pub accumulated_cost: f64,
    /// A limit in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_budget_per_task: Option<f64>,
    /// Tokens so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulated_token_usage: Option<TokenUsage>,
}

impl MetricsSnapshot {
    /// Nothing used yet.
    pub fn new(model_name: impl Into<String>) -> Self {
        let model_name = model_name.into();
        Self {
            accumulated_token_usage: Some(TokenUsage { model: model_name.clone(), ..TokenUsage::default() }),
            model_name,
            accumulated_cost: 0.0,
            max_budget_per_task: None,
        }
    }

    /// Adds a call.
    pub fn record(&mut self, call: &Call) {
        self.accumulated_cost += call.cost;
        self.accumulated_token_usage.get_or_insert_default().add(&call.usage);
    }
}

fn default_model() -> String {
    "default".to_owned()
}

/// One model call: what a usage log keeps and what the lists of [`Metrics`] are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which use of a model this is: `agent`, `condenser`, …
    pub usage_id: String,
    /// Tokens.
    pub usage: TokenUsage,
    /// US dollars.
    pub cost: f64,
    /// Seconds the call took.
    pub latency: f64,
    /// When it ended, in seconds since the epoch.
    pub timestamp: f64,
}

/// Totals and single calls of one usage, as REST answers give them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metrics {
    /// The model's name.
    #[serde(default = "default_model")]
    pub model_name: String,
    /// US dollars so far.
    #[serde(default)]
    pub accumulated_cost: f64,
    /// A limit in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_budget_per_task: Option<f64>,
    /// Tokens so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulated_token_usage: Option<TokenUsage>,
    /// Calls that cost something.
    #[serde(default)]
    pub costs: Vec<Cost>,
    /// How long each call took.
    #[serde(default)]
    pub response_latencies: Vec<ResponseLatency>,
    /// Tokens of each call.
    #[serde(default)]
    pub token_usages: Vec<TokenUsage>,
}

impl Metrics {
    /// The totals of `snapshot` with the calls that belong to `usage_id`.
    pub fn new<'a>(snapshot: &MetricsSnapshot, usage_id: &str, calls: impl IntoIterator<Item = &'a Call>) -> Self {
        let mut metrics = Self {
            model_name: snapshot.model_name.clone(),
            accumulated_cost: snapshot.accumulated_cost,
            max_budget_per_task: snapshot.max_budget_per_task,
            accumulated_token_usage: snapshot.accumulated_token_usage.clone(),
            costs: Vec::new(),
            response_latencies: Vec::new(),
            token_usages: Vec::new(),
        };
        for call in calls.into_iter().filter(|call| call.usage_id == usage_id) {
            let model = call.usage.model.clone();
            if call.cost > 0.0 {
                metrics.costs.push(Cost { model: model.clone(), cost: call.cost, timestamp: call.timestamp });
            }
            let response_id = call.usage.response_id.clone();
            metrics.response_latencies.push(ResponseLatency { model, latency: call.latency, response_id });
            metrics.token_usages.push(call.usage.clone());
        }
        metrics
    }
}

/// Totals per usage, as sockets send them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats<M = MetricsSnapshot> {
    /// By usage id.
    #[serde(default = "IndexMap::new")]
    pub usage_to_metrics: IndexMap<String, M>,
}

impl<M> Default for Stats<M> {
    fn default() -> Self {
        Self { usage_to_metrics: IndexMap::new() }
    }
}

impl Stats {
    /// Adds a call.
    pub fn record(&mut self, call: &Call) {
        self.usage_to_metrics
            .entry(call.usage_id.clone())
            .or_insert_with(|| MetricsSnapshot::new(&call.usage.model))
            .record(call);
    }

    /// US dollars over all usages.
    pub fn total_cost(&self) -> f64 {
        self.usage_to_metrics.values().map(|metrics| metrics.accumulated_cost).sum()
    }
}
