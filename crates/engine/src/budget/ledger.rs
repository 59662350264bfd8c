//! What each user who calls models has spent and reserved.

use std::{collections::HashMap, sync::Arc};

use jiff::{civil::Date, tz::TimeZone};
use longshore_agent::Failure;
use longshore_llm::Estimate;
use longshore_protocol::metrics::Call;
use longshore_store::{Owner, Spent, Store, day_of};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use super::{
    Amount, Balance, Budgets, Limits, Reservation, UnknownPrice,
    refusal::{self, Budget, Scope},
};
use crate::Clock;

/// What each user who calls models has spent and reserved.
///
/// A user's account is read from the store when the first of their calls is reserved, and is forgotten with the last.
/// Meanwhile every call goes through it, so it is exact.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(super) store: Arc<dyn Store>,
    budgets: Arc<dyn Budgets>,
    clock: Clock,
    /// Waited for when the engine stops.
    pub(super) tracker: TaskTracker,
    accounts: Mutex<HashMap<Owner, Arc<Account>>>,
}

/// A call that wants to leave.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) owner: Owner,
    /// What its conversation has spent.
    pub(crate) conversation: Amount,
    /// The model's name, as calls are counted.
    pub(crate) model: String,
    /// Which use of a model it is.
    pub(crate) usage_id: String,
    pub(crate) estimate: Estimate,
}

/// A user's account.
#[derive(Debug, Default)]
pub(super) struct Account {
    books: OnceCell<Mutex<Books>>,
}

#[derive(Debug)]
struct Books {
    /// The day of `spent.day`.
    day: Date,
    spent_in_day: Amount,
    spent: Amount,
    reserved: Amount,
}

impl Ledger {
    pub(crate) fn new(store: Arc<dyn Store>, budgets: Arc<dyn Budgets>, clock: Clock, tracker: TaskTracker) -> Self {
        Self { store, budgets, clock, tracker, accounts: Mutex::default() }
    }

    /// Reserves the most that a call may take.
    ///
    /// # Errors
    /// Why the call must not leave.
    pub(crate) async fn reserve(self: &Arc<Self>, asking: Asking) -> Result<Reservation, Failure> {
        let seat = self.seat(&asking.owner);
        let limits = self.hold(&seat, &asking).await?;
        Ok(Reservation::new(seat, asking, limits.has_any()))
    }

    /// Adds the most that a call may take to what is reserved, if it fits.
    pub(super) async fn hold(&self, seat: &Seat, asking: &Asking) -> Result<Limits, Failure> {
        let Asking { owner, conversation, model, estimate, .. } = asking;
        let unreadable = |error| refusal::unreadable(&error);
        let limits = self.budgets.limits(owner).await.map_err(unreadable)?;
        let is_unknown = estimate.cost.is_none() && limits.has_money();
        if is_unknown && self.budgets.unknown_price() == UnknownPrice::Refuse {
            return Err(refusal::unknown_price(model));
        }
        let today = self.today();
        let books = seat.account.books.get_or_try_init(|| self.read(owner, today)).await.map_err(unreadable)?;
        let mut books = books.lock();
        books.turn_to(today);
        let reserved = books.reserved;
        // Only one call of a conversation is under way at a time.
        let none = Amount::default();
        let budgets = [
            Budget { scope: Scope::Conversation, limit: limits.conversation, spent: *conversation, reserved: none },
            Budget { scope: Scope::Day(today), limit: limits.day, spent: books.spent_in_day, reserved },
            Budget { scope: Scope::User, limit: limits.user, spent: books.spent, reserved },
        ];
        let call = Amount::from(estimate);
        budgets.iter().try_for_each(|budget| budget.check(call))?;
        books.reserved += call;
        Ok(limits)
    }

    /// Where a user stands.
    ///
    /// # Errors
    /// If budgets or spendings cannot be read.
    pub(crate) async fn balance(self: &Arc<Self>, owner: &Owner) -> Result<Balance, longshore_store::Error> {
        let limits = self.budgets.limits(owner).await?;
        let seat = self.seat(owner);
        let today = self.today();
        let books = seat.account.books.get_or_try_init(|| self.read(owner, today)).await?;
        let mut books = books.lock();
        books.turn_to(today);
        Ok(Balance { limits, day: books.spent_in_day, all: books.spent, reserved: books.reserved })
    }

    pub(super) fn now(&self) -> f64 {
        self.clock.now().0.as_duration().as_secs_f64()
    }

    fn today(&self) -> Date {
        self.clock.now().0.to_zoned(TimeZone::UTC).date()
    }

    async fn read(&self, owner: &Owner, day: Date) -> Result<Mutex<Books>, longshore_store::Error> {
        let Spent { day: in_day, all } = self.store.spent(owner, day).await?;
        let reserved = Amount::default();
        Ok(Mutex::new(Books { day, spent_in_day: in_day.into(), spent: all.into(), reserved }))
    }

    fn seat(self: &Arc<Self>, owner: &Owner) -> Seat {
        let account = Arc::clone(self.accounts.lock().entry(owner.clone()).or_default());
        Seat { ledger: Arc::clone(self), owner: owner.clone(), account }
    }
}

impl Books {
    /// Begins a new day. A clock that was set back does not.
    fn turn_to(&mut self, today: Date) {
        if today > self.day {
            self.day = today;
            self.spent_in_day = Amount::default();
        }
    }
}

/// Somebody who needs a user's account. It is forgotten with the last one.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) ledger: Arc<Ledger>,
    pub(super) owner: Owner,
    account: Arc<Account>,
}

impl Seat {
    /// Gives back what was reserved.
    pub(super) fn release(&self, held: Amount) {
        if let Some(books) = self.account.books.get() {
            books.lock().reserved -= held;
        }
    }

    /// A call is stored.
    pub(super) fn spend(&self, call: &Call) {
        if let Some(books) = self.account.books.get() {
            let mut books = books.lock();
            let day = day_of(call);
            books.turn_to(day);
            books.spent += call.into();
            if day == books.day {
                books.spent_in_day += call.into();
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts.lock();
        // Two references mean that nobody else needs it: the map's and ours.
        let is_ours = accounts.get(&self.owner).is_some_and(|account| Arc::ptr_eq(account, &self.account));
        if is_ours && Arc::strong_count(&self.account) == 2 {
            accounts.remove(&self.owner);
        }
    }
}
