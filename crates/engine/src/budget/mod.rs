//! Money and tokens, bounded before they are spent.
//!
//! Before a call of a model leaves, the most that it may count and cost is reserved in the ledger. If that does not fit into
//! what is left of a budget, the call does not leave and the run ends with an error. Otherwise the reservation is replaced by
//! the real figures when the answer is stored. So calls that are under way at the same time cannot overspend together,
//! beyond what their estimates are wrong by.

mod amount;
mod ledger;
mod refusal;
mod reservation;
mod stored;

use std::fmt;

use async_trait::async_trait;
use longshore_store::Owner;

pub use self::{amount::Amount, stored::StoredBudgets};
pub(crate) use self::{
    ledger::{Asking, Ledger},
    reservation::Reservation,
};

/// The most of each; nothing for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limit {
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// Tokens read and written.
    pub tokens: Option<u64>,
}

/// The budgets of a user.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// For each conversation.
    pub conversation: Limit,
    /// For each day in UTC, over all conversations.
    pub day: Limit,
    /// In all, for ever.
    pub user: Limit,
}

impl Limits {
    fn all(&self) -> [Limit; 3] {
        [self.conversation, self.day, self.user]
    }

    /// Whether anything is limited.
    pub(crate) fn has_any(&self) -> bool {
        self.all().iter().any(|limit| limit.cost_usd.is_some() || limit.tokens.is_some())
    }

    /// Whether money is limited.
    pub(crate) fn has_money(&self) -> bool {
        self.all().iter().any(|limit| limit.cost_usd.is_some())
    }
}

/// What happens to calls whose price nobody knows, for users with a budget of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownPrice {
    /// They do not leave.
    #[default]
    Refuse,
    /// They count as free; their tokens count.
    Allow,
}

/// Tells the budgets of users.
#[async_trait]
pub trait Budgets: fmt::Debug + Send + Sync {
    /// The budgets of `owner` now. Asked before each call of a model, so that a change holds at once.
    ///
    /// # Errors
    /// If they cannot be read; then the call does not leave.
    async fn limits(&self, owner: &Owner) -> Result<Limits, longshore_store::Error>;

    /// What happens to calls whose price nobody knows.
    fn unknown_price(&self) -> UnknownPrice;
}

/// The same budgets for every user; by default none.
#[derive(Debug, Clone, Copy, Default)]
pub struct SameForAll {
    /// The budgets of each user.
    pub limits: Limits,
    /// What happens to calls whose price nobody knows.
    pub unknown_price: UnknownPrice,
}

#[async_trait]
impl Budgets for SameForAll {
    async fn limits(&self, _owner: &Owner) -> Result<Limits, longshore_store::Error> {
        Ok(self.limits)
    }

    fn unknown_price(&self) -> UnknownPrice {
        self.unknown_price
    }
}

/// Where a user stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// The budgets.
    pub limits: Limits,
    /// What was spent since the beginning of the day in UTC.
    pub day: Amount,
    /// What was spent in all.
    pub all: Amount,
    /// What calls under way may cost.
    pub reserved: Amount,
}
