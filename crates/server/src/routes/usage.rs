//! `/api/usage`: what the user spent on models, and what is left of the budgets.

use axum::extract::State;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use longshore_engine::{Amount, Balance, Limit};
use longshore_protocol::ConversationId;
use longshore_store::{Owner, UsageBy, UsageQuery, UsageRow, UsageTotals};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    ApiError, Principal,
    extract::{ApiQuery, Least, Problem, bounded},
    respond::JsonWithNulls,
    routing::Routes,
    state::AppState,
};

/// Days of one answer.
const MAX_DAYS: i32 = 366;

/// Days of an answer where nobody says how many.
const USUAL_DAYS: i32 = 30;

/// Models of one answer: those that sort first.
const MAX_MODELS: usize = 1000;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(usage)).route(|| routes!(usage_of_conversations))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PeriodQuery {
    /// The first UTC day, such as `2026-11-01`; 30 days in all if absent.
    #[serde(default)]
    #[param(format = Date)]
    from: Option<String>,
    /// The last UTC day; today if absent. At most 366 days.
    #[serde(default)]
    #[param(format = Date)]
    to: Option<String>,
}

/// What a user spent on models, and what is left of the budgets.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageReport {
    /// The first UTC day.
    from: String,
    /// The last UTC day.
    to: String,
    /// All of it.
    total: UsageSum,
    /// By UTC day; days without calls are left out.
    days: Vec<DayUsage>,
    /// By model.
    models: Vec<ModelUsage>,
    /// The budgets now.
    budgets: BudgetReport,
}

/// Sums over calls.
#[derive(Serialize, ToSchema, Clone, Copy, Default)]
pub(crate) struct UsageSum {
    /// Calls.
    calls: u64,
    /// Tokens read, those from the cache included.
    prompt_tokens: u64,
    /// Tokens written.
    completion_tokens: u64,
    /// Tokens read from the provider's cache.
    cache_read_tokens: u64,
    /// Tokens written to the provider's cache.
    cache_write_tokens: u64,
    /// Tokens spent on reasoning.
    reasoning_tokens: u64,
    /// US dollars.
    cost_usd: f64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DayUsage {
    /// The UTC day.
    day: String,
    #[serde(flatten)]
    sum: UsageSum,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ModelUsage {
    /// The model's name.
    model: String,
    #[serde(flatten)]
    sum: UsageSum,
}

/// The budgets and what is left of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetReport {
    /// The budget of each conversation.
    conversation: BudgetLimit,
    /// The budget of the UTC day.
    day: BudgetState,
    /// The budget in all.
    user: BudgetState,
    /// When the budget of the day renews.
    day_renews_at: String,
}

/// The most of each; null for no limit.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetLimit {
    /// US dollars.
    cost_usd: Option<f64>,
    /// Tokens read and written.
    tokens: Option<u64>,
}

/// A budget and what is gone of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetState {
    limit: BudgetLimit,
    /// What was spent.
    spent: BudgetAmount,
    /// What calls under way may cost.
    reserved: BudgetAmount,
    /// What is left; null for no limit.
    left: BudgetLimit,
}

/// Money and tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetAmount {
    /// US dollars.
    cost_usd: f64,
    /// Tokens read and written.
    tokens: u64,
}

/// What the user spent on models, and what is left of the budgets.
#[utoipa::path(get, path = "/api/usage", tag = "Usage", params(PeriodQuery), responses(
    (status = 200, body = UsageReport),
))]
async fn usage(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(query): ApiQuery<PeriodQuery>,
) -> Result<JsonWithNulls<UsageReport>, ApiError> {
    Ok(JsonWithNulls(report(&state, principal.user(), &query).await?))
}

/// What a user spent on models.
pub(crate) async fn report(state: &AppState, owner: &Owner, query: &PeriodQuery) -> Result<UsageReport, ApiError> {
    let (from, to) = period(query)?;
    let store = state.engine().store();
    let sums = async |by, limit| {
        let (owner, since, until) = (Some(owner.clone()), Some(from), Some(to));
        store.usage(UsageQuery { owner, since, until, by, from: None, limit }).await
    };
    let days = sums(UsageBy::Day, usize::try_from(MAX_DAYS).unwrap_or_default()).await?.items;
    let models = sums(UsageBy::Model, MAX_MODELS).await?.items;
    let total = sums(UsageBy::Owner, 1).await?.items.first().map(|row| row.totals.into()).unwrap_or_default();
    let budgets = state.engine().balance(owner).await?;
    Ok(UsageReport {
        from: from.to_string(),
        to: to.to_string(),
        total,
        days: days.into_iter().map(|UsageRow { key, totals }| DayUsage { day: key, sum: totals.into() }).collect(),
        models: models
            .into_iter()
            .map(|UsageRow { key, totals }| ModelUsage { model: key, sum: totals.into() })
            .collect(),
        budgets: budgets.into(),
    })
}

fn period(query: &PeriodQuery) -> Result<(Date, Date), ApiError> {
    let wrong = |name: &str, kind: &'static str, why: String, input: &str| {
        ApiError::invalid(vec![Problem::new(kind, why).at(vec!["query".into(), name.into()], input.into())])
    };
    let day = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => text.parse::<Date>().map(Some).map_err(|_| {
            wrong(name, "date_parsing", "Input should be a valid date, such as 2026-11-20".to_owned(), text)
        }),
    };
    let to = day("to", &query.to)?.unwrap_or_else(today);
    let from = day("from", &query.from)?.unwrap_or_else(|| to.saturating_sub((USUAL_DAYS - 1).days()));
    let days = from.until(to).map_or(i32::MAX, |span| span.get_days());
    if !(0..MAX_DAYS).contains(&days) {
        let why = format!("Input should be a day up to {MAX_DAYS} days before 'to'");
        return Err(wrong("from", "value_error", why, &from.to_string()));
    }
    Ok((from, to))
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

impl From<UsageTotals> for UsageSum {
    fn from(totals: UsageTotals) -> Self {
        Self {
            calls: totals.calls,
            prompt_tokens: totals.prompt_tokens,
            completion_tokens: totals.completion_tokens,
            cache_read_tokens: totals.cache_read_tokens,
            cache_write_tokens: totals.cache_write_tokens,
            reasoning_tokens: totals.reasoning_tokens,
            cost_usd: totals.cost,
        }
    }
}

impl From<Balance> for BudgetReport {
    fn from(balance: Balance) -> Self {
        let Balance { limits, day, all, reserved } = balance;
        Self {
            conversation: limits.conversation.into(),
            day: BudgetState::new(limits.day, day, reserved),
            user: BudgetState::new(limits.user, all, reserved),
            day_renews_at: format!("{}T00:00:00Z", today().saturating_add(1.day())),
        }
    }
}

impl BudgetState {
    fn new(limit: Limit, spent: Amount, reserved: Amount) -> Self {
        let left = Limit {
            cost_usd: limit.cost_usd.map(|most| (most - spent.cost_usd - reserved.cost_usd).max(0.0)),
            tokens: limit.tokens.map(|most| most.saturating_sub(spent.tokens).saturating_sub(reserved.tokens)),
        };
        Self { limit: limit.into(), spent: spent.into(), reserved: reserved.into(), left: left.into() }
    }
}

impl From<Limit> for BudgetLimit {
    fn from(Limit { cost_usd, tokens }: Limit) -> Self {
        Self { cost_usd, tokens }
    }
}

impl From<Amount> for BudgetAmount {
    fn from(Amount { cost_usd, tokens }: Amount) -> Self {
        Self { cost_usd, tokens }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `next_page_id` of the page before.
    #[serde(default)]
    page_id: Option<ConversationId>,
    /// At most so many.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
}

/// Conversations with what they spent.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationUsagePage {
    items: Vec<ConversationUsageItem>,
    /// The `page_id` of the next page.
    next_page_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationUsageItem {
    /// The conversation.
    conversation_id: ConversationId,
    /// Its title.
    title: Option<String>,
    #[serde(flatten)]
    sum: UsageSum,
}

/// The user's conversations that called models, those that cost most first.
#[utoipa::path(get, path = "/api/usage/conversations", tag = "Usage", params(PageQuery), responses(
    (status = 200, body = ConversationUsagePage),
))]
async fn usage_of_conversations(
    State(state): State<AppState>,
    principal: Principal,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<JsonWithNulls<ConversationUsagePage>, ApiError> {
    Ok(JsonWithNulls(conversations(&state, principal.user(), principal.workspace(), &query).await?))
}

/// The conversations of a user, or of one workspace, that called models.
pub(crate) async fn conversations(
    state: &AppState,
    owner: &Owner,
    workspace: Option<Uuid>,
    query: &PageQuery,
) -> Result<ConversationUsagePage, ApiError> {
    let limit = bounded("limit", query.limit, Least::Above(0), 100, 20)?;
    let page = state.engine().store().usage_by_conversation(owner, workspace, query.page_id, limit).await?;
    let items = page.items.into_iter().map(|usage| ConversationUsageItem {
        conversation_id: usage.id,
        title: usage.title,
        sum: usage.totals.into(),
    });
    Ok(ConversationUsagePage { items: items.collect(), next_page_id: page.next })
}
