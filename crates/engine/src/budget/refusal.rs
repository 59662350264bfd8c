//! Why a call does not leave, in words for the user.

use jiff::{ToSpan, civil::Date};
use longshore_agent::Failure;
use longshore_protocol::error::ErrorClassification;

use super::{Amount, Limit};

/// The code of the error that ends the run.
const CODE: &str = "BudgetExceeded";

/// A fraction of a cent that rounding may take.
const ROUNDING: f64 = 1e-9;

/// Which budget it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    Conversation,
    Day(Date),
    User,
}

/// A budget and what is gone of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) scope: Scope,
    pub(super) limit: Limit,
    pub(super) spent: Amount,
    pub(super) reserved: Amount,
}

impl Budget {
    /// Whether a call of this size still fits.
    ///
    /// # Errors
    /// Which budget it is, how much of it is gone, and what to do.
    pub(super) fn check(&self, call: Amount) -> Result<(), Failure> {
        let Self { scope, limit, spent, reserved } = *self;
        let most = spent + reserved + call;
        let numbers = if limit.cost_usd.is_some_and(|limit| most.cost_usd > limit + ROUNDING) {
            [limit.cost_usd.unwrap_or_default(), spent.cost_usd, reserved.cost_usd, call.cost_usd]
                .map(|cost| format!("${cost:.4}"))
        } else if limit.tokens.is_some_and(|limit| most.tokens > limit) {
            [limit.tokens.unwrap_or_default(), spent.tokens, reserved.tokens, call.tokens]
                .map(|tokens| format!("{tokens} tokens"))
        } else {
            return Ok(());
        };
        let [limit, spent, reserved, call] = numbers;
        Err(failure(
            CODE,
            format!(
                "The budget of {} is {limit}; {spent} are spent, {reserved} are reserved for calls under way, and the next call \
             may take {call}. {}",
                scope.name(),
                scope.advice()
            ),
        ))
    }
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::Conversation => "this conversation",
            Self::Day(_) => "the day",
            Self::User => "the user",
        }
    }

    fn advice(self) -> String {
        match self {
            Self::Conversation => {
                "It does not renew: begin another conversation, or ask the operator to raise it.".to_owned()
            }
            Self::Day(day) => match day.checked_add(1.day()) {
                Ok(next) => format!("It renews at {next}T00:00:00Z: run again then, or ask the operator to raise it."),
                Err(_) => "Ask the operator to raise it.".to_owned(),
            },
            Self::User => "It does not renew: ask the operator to raise it.".to_owned(),
        }
    }
}

/// The price of a model is not known, and there is a budget of money.
pub(super) fn unknown_price(model: &str) -> Failure {
    let shown: String = model.chars().take(200).collect();
    failure(
        CODE,
        format!(
            "The price of the model {shown} is not known, so it cannot be called within a budget of money: set \
         input_cost_per_token and output_cost_per_token in the LLM, or use a model of the operator. The operator can give the \
         price in [[model]], or allow such models with unknown_price = \"allow\" in [budget]."
        ),
    )
}

/// What was spent, or may be, cannot be read.
pub(super) fn unreadable(error: &longshore_store::Error) -> Failure {
    let cause: &dyn std::error::Error = error;
    tracing::error!(error = cause, "what a user spent cannot be read");
    let detail = "What was spent so far cannot be read, so no model is called; the server's log says why.";
    failure("InternalError", detail.to_owned())
}

fn failure(code: &str, detail: String) -> Failure {
    Failure { code: code.to_owned(), detail, classification: ErrorClassification::of_code(code) }
}
