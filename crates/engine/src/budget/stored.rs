//! Budgets that are stored with users.

use std::sync::Arc;

use async_trait::async_trait;
use longshore_protocol::account::{BudgetAmounts, UserBudget};
use longshore_store::{Owner, Store};

use super::{Budgets, Limit, Limits, SameForAll, UnknownPrice};

/// What is stored with the user, and for the rest what holds for everybody.
#[derive(Debug)]
pub struct StoredBudgets {
    /// Where the users are.
    pub store: Arc<dyn Store>,
    /// What holds for everybody.
    pub common: SameForAll,
}

#[async_trait]
impl Budgets for StoredBudgets {
    async fn limits(&self, owner: &Owner) -> Result<Limits, longshore_store::Error> {
        let common = self.common.limits;
        let Ok(name) = owner.0.parse() else { return Ok(common) };
        let user = self.store.user(&name).await?;
        let Some(UserBudget { conversation, day, user }) = user.and_then(|user| user.options.budget) else {
            return Ok(common);
        };
        Ok(Limits {
            conversation: or(conversation, common.conversation),
            day: or(day, common.day),
            user: or(user, common.user),
        })
    }

    fn unknown_price(&self) -> UnknownPrice {
        self.common.unknown_price
    }
}

fn or(own: BudgetAmounts, common: Limit) -> Limit {
    Limit { cost_usd: own.cost_usd.or(common.cost_usd), tokens: own.tokens.or(common.tokens) }
}
