//! `[budget]`: what users may spend on models.

use longshore_engine::{Limit, Limits, SameForAll, UnknownPrice};
use schemars::JsonSchema;
use serde::Deserialize;

/// What each user may spend on models. What is not given is not limited.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Budget {
    /// The budget of each conversation.
    conversation: Amounts,
    /// The budget of each user for each day in UTC.
    day: Amounts,
    /// The budget of each user in all.
    user: Amounts,
    /// What happens to calls of models whose price nobody knows, where a budget of money holds: `refuse` (the default) or
    /// `allow`, and then only their tokens count.
    unknown_price: Unknown,
}

/// The most of each.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Amounts {
    /// US dollars.
    #[serde(deserialize_with = "dollars")]
    cost_usd: Option<f64>,
    /// Tokens read and written.
    tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unknown {
    #[default]
    Refuse,
    Allow,
}

impl Budget {
    /// The same budgets for every user.
    pub(crate) fn for_all(&self) -> SameForAll {
        let limit = |Amounts { cost_usd, tokens }| Limit { cost_usd, tokens };
        SameForAll {
            limits: Limits { conversation: limit(self.conversation), day: limit(self.day), user: limit(self.user) },
            unknown_price: match self.unknown_price {
                Unknown::Refuse => UnknownPrice::Refuse,
                Unknown::Allow => UnknownPrice::Allow,
            },
        }
    }

    /// Whether money is limited.
    pub(crate) fn has_money(&self) -> bool {
        [self.conversation, self.day, self.user].iter().any(|amounts| amounts.cost_usd.is_some())
    }
}

/// An amount of money: a number that is not below zero.
pub(super) fn dollars<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let amount = f64::deserialize(deserializer)?;
    if amount.is_finite() && amount >= 0.0 {
        return Ok(Some(amount));
    }
    Err(serde::de::Error::custom("expected an amount of US dollars that is not below zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "unknown_price = \"allow\"\n[day]\ncost_usd = 5\n[user]\ntokens = 1000";
        let budget: Budget = toml::from_str(text).unwrap();
        let SameForAll { limits, unknown_price } = budget.for_all();
        assert!(budget.has_money() && unknown_price == UnknownPrice::Allow);
        assert_eq!(limits.day, Limit { cost_usd: Some(5.0), tokens: None });
        assert_eq!(limits.user, Limit { cost_usd: None, tokens: Some(1000) });
        assert_eq!(limits.conversation, Limit::default());
        for wrong in ["[day]\ncost_usd = -1", "[day]\ncost_usd = nan", "[week]\ntokens = 1", "[day]\ntokens = -1"] {
            toml::from_str::<Budget>(wrong).unwrap_err();
        }
    }
}
