//! What a call costs.

use longshore_protocol::{Llm, metrics::TokenUsage};

use crate::catalog::{self, Prices};

const MILLION: f64 = 1_000_000.0;

/// Prices of one configured model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PriceList {
    prices: Option<Prices>,
    /// Whether both what is read and what is written have a price, be it nothing.
    is_known: bool,
}

impl PriceList {
    /// Configured prices go before the table's. With only one of the two configured, the other comes from the table or
    /// is nothing. A configuration has no cache prices: cached tokens then cost what other input costs.
    pub(crate) fn of(llm: &Llm) -> Self {
        let known = catalog::find(llm.model_canonical_name.as_deref().unwrap_or(&llm.model)).map(|entry| entry.prices);
        let configured = |price: Option<f64>| price.filter(|price| price.is_finite() && *price >= 0.0);
        let (input, output) = (configured(llm.input_cost_per_token), configured(llm.output_cost_per_token));
        if input.is_none() && output.is_none() {
            return Self { prices: known, is_known: known.is_some() };
        }
        let is_known = known.is_some() || (input.is_some() && output.is_some());
        let mut prices = known.unwrap_or(Prices { input: 0.0, output: 0.0, cache_read: 0.0, cache_write: 0.0 });
        if let Some(input) = input {
            prices.input = input * MILLION;
            prices.cache_read = prices.input;
            prices.cache_write = prices.input;
        }
        if let Some(output) = output {
            prices.output = output * MILLION;
        }
        Self { prices: Some(prices), is_known }
    }

    /// A model that runs on the user's own machine.
    pub(crate) const fn free() -> Self {
        Self { prices: None, is_known: true }
    }

    /// A model that costs nothing unless somebody names a price.
    pub(crate) fn of_script(llm: &Llm) -> Self {
        Self { is_known: true, ..Self::of(llm) }
    }

    /// The prices of the table alone, whatever the configuration says.
    pub(crate) fn listed(model: &str) -> Self {
        Self::of(&Llm { model: model.to_owned(), ..Llm::default() })
    }

    /// US dollars for a token read and for one written, if both are known.
    pub(crate) fn per_token(&self) -> Option<(f64, f64)> {
        let (input, output) = self.prices.map_or((0.0, 0.0), |prices| (prices.input, prices.output));
        self.is_known.then_some((input / MILLION, output / MILLION))
    }

    /// The most that so many tokens cost in US dollars, if that is known.
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    pub(crate) fn most(&self, input_tokens: u64, output_tokens: u64) -> Option<f64> {
        let cost = self.prices.map_or(0.0, |prices| {
            let dearest = prices.input.max(prices.cache_read).max(prices.cache_write);
            (input_tokens as f64 * dearest + output_tokens as f64 * prices.output) / MILLION
        });
        self.is_known.then_some(cost)
    }

    /// US dollars; 0 if nobody knows the price.
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    pub(crate) fn cost(&self, usage: &TokenUsage) -> f64 {
        let Some(prices) = self.prices else { return 0.0 };
        let cached = usage.cache_read_tokens.saturating_add(usage.cache_write_tokens);
        let fresh = usage.prompt_tokens.saturating_sub(cached);
        (fresh as f64 * prices.input
            + usage.cache_read_tokens as f64 * prices.cache_read
            + usage.cache_write_tokens as f64 * prices.cache_write
            + usage.completion_tokens as f64 * prices.output)
            / MILLION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> TokenUsage {
        TokenUsage {
            prompt_tokens: 1000,
            completion_tokens: 100,
            cache_read_tokens: 600,
            cache_write_tokens: 200,
            ..TokenUsage::default()
        }
    }

    fn cost(llm: &Llm) -> f64 {
        PriceList::of(llm).cost(&usage())
    }

    fn llm(model: &str) -> Llm {
        Llm { model: model.to_owned(), ..Llm::default() }
    }

    #[track_caller]
    fn assert_close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-12, "{left} is not {right}");
    }

    #[test]
    fn the_table_counts_cached_tokens_apart() {
        let expected = (200.0 * 3.0 + 600.0 * 0.3 + 200.0 * 3.75 + 100.0 * 15.0) / MILLION;
        assert_close(cost(&llm("litellm_proxy/claude-sonnet-4-5")), expected);
    }

    #[test]
    fn an_unknown_model_costs_nothing_until_somebody_names_a_price() {
        assert_close(cost(&llm("openai/m-hello")), 0.0);
        let priced = Llm { input_cost_per_token: Some(1e-6), output_cost_per_token: Some(2e-6), ..llm("openai/m") };
        assert_close(cost(&priced), 0.0012);
        let half = Llm { input_cost_per_token: Some(1e-6), ..llm("openai/m") };
        assert_close(cost(&half), 0.001);
    }

    #[test]
    fn the_canonical_name_decides() {
        let named = Llm { model_canonical_name: Some("gpt-4o".to_owned()), ..llm("litellm_proxy/ours") };
        assert!(cost(&named) > 0.0);
    }

    #[test]
    fn inconsistent_counts_do_not_underflow() {
        let odd = TokenUsage { prompt_tokens: 1, cache_read_tokens: 5, ..TokenUsage::default() };
        assert!(PriceList::of(&llm("gpt-4o")).cost(&odd) >= 0.0);
    }
}
