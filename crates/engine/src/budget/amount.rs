//! Money and tokens.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use longshore_llm::Estimate;
use longshore_protocol::metrics::{Call, Stats};
use longshore_store::UsageTotals;

/// Money and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amount {
    /// US dollars.
    pub cost_usd: f64,
    /// Tokens read and written.
    pub tokens: u64,
}

impl Amount {
    /// What a conversation has spent, those calls included that are not stored yet.
    pub(crate) fn of_stats(stats: &Stats) -> Self {
        stats.usage_to_metrics.values().fold(Self::default(), |sum, metrics| {
            let tokens = metrics.accumulated_token_usage.as_ref();
            let tokens = tokens.map_or(0, |usage| usage.prompt_tokens.saturating_add(usage.completion_tokens));
            sum + Self { cost_usd: positive(metrics.accumulated_cost), tokens }
        })
    }
}

impl From<&Call> for Amount {
    fn from(call: &Call) -> Self {
        let tokens = call.usage.prompt_tokens.saturating_add(call.usage.completion_tokens);
        Self { cost_usd: positive(call.cost), tokens }
    }
}

impl From<UsageTotals> for Amount {
    fn from(totals: UsageTotals) -> Self {
        Self { cost_usd: totals.cost, tokens: totals.tokens() }
    }
}

impl From<&Estimate> for Amount {
    /// What nobody knows the price of counts as free.
    fn from(estimate: &Estimate) -> Self {
        let tokens = estimate.input_tokens.saturating_add(estimate.output_tokens);
        Self { cost_usd: positive(estimate.cost.unwrap_or(0.0)), tokens }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cost_usd: self.cost_usd + other.cost_usd, tokens: self.tokens.saturating_add(other.tokens) }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Amount {
    type Output = Self;

    /// Never less than nothing, whatever was rounded.
    fn sub(self, other: Self) -> Self {
        Self { cost_usd: (self.cost_usd - other.cost_usd).max(0.0), tokens: self.tokens.saturating_sub(other.tokens) }
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Providers may say anything.
fn positive(cost: f64) -> f64 {
    if cost.is_finite() { cost.max(0.0) } else { 0.0 }
}
