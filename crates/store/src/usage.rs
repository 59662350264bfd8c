//! What users spent on models.

use async_trait::async_trait;
use jiff::civil::Date;
use longshore_protocol::{ConversationId, metrics::Call};
use uuid::Uuid;

use crate::{Error, Owner, Page};

/// What users spent on models, by UTC day and model.
///
/// [`Store::commit`](crate::Store::commit) adds the calls that it logs, in its own transaction. The deletion of a
/// conversation takes nothing away.
#[async_trait]
pub trait Usage {
    /// Adds what no commit has: a call that was broken off after it had left. The conversation's own log does not have it.
    ///
    /// # Errors
    /// [`Error`].
    async fn charge(&self, owner: &Owner, call: Call) -> Result<(), Error>;

    /// What `owner` spent on `day`, and in all.
    ///
    /// # Errors
    /// [`Error`].
    async fn spent(&self, owner: &Owner, day: Date) -> Result<Spent, Error>;

    /// A page of sums, in the order of their keys.
    ///
    /// # Errors
    /// [`Error`].
    async fn usage(&self, query: UsageQuery) -> Result<Page<UsageRow>, Error>;

    /// A page of the conversations of `owner`, or of one workspace, that called a model: those that cost most first, and of those with the same
    /// cost those with most tokens. Deleted ones are not among them. A page that begins with a conversation that is not
    /// there is the first one.
    ///
    /// # Errors
    /// [`Error`].
    async fn usage_by_conversation(
        &self,
        owner: &Owner,
        workspace: Option<Uuid>,
        from: Option<ConversationId>,
        limit: usize,
    ) -> Result<Page<ConversationUsage>, Error>;
}

/// Sums over calls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UsageTotals {
    /// Calls.
    pub calls: u64,
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
    /// US dollars.
    pub cost: f64,
}

impl UsageTotals {
    /// Tokens read and written, which is what a budget counts.
    pub const fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// What an owner spent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// On one day.
    pub day: UsageTotals,
    /// In all.
    pub all: UsageTotals,
}

/// Which sums to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only of this user.
    pub owner: Option<Owner>,
    /// Not before this UTC day.
    pub since: Option<Date>,
    /// Not after this UTC day.
    pub until: Option<Date>,
    /// What is one sum.
    pub by: UsageBy,
    /// From this key on.
    pub from: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// What is one sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// A UTC day: `2026-11-20`.
    Day,
    /// A model, by the name that the configuration of the conversation has.
    Model,
    /// A user.
    Owner,
}

/// One sum.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageRow {
    /// The day, the model or the user.
    pub key: String,
    /// The sum.
    pub totals: UsageTotals,
}

/// What a conversation spent.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationUsage {
    /// The conversation.
    pub id: ConversationId,
    /// Its title.
    pub title: Option<String>,
    /// The sum.
    pub totals: UsageTotals,
}

/// The UTC day that a call counts for. A time that is no time of ours counts as long ago.
pub fn day_of(call: &Call) -> Date {
    #[expect(clippy::cast_possible_truncation, reason = "a number out of range becomes the nearest, which is no time")]
    let seconds = call.timestamp as i64;
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.to_zoned(jiff::tz::TimeZone::UTC).date()
}
