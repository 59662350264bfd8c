//! `/admin`: users and their keys, for admins. Not in the official contract.

mod keys;
mod users;

pub(crate) use keys::KeyId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    ApiError,
    accounts::AccountError,
    extract::{Least, bounded},
    routing::Routes,
};

pub(super) fn router() -> Routes {
    Routes::default().merge(keys::router()).merge(users::router())
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `next_page_id` of the page before.
    #[serde(default)]
    pub(crate) page_id: Option<String>,
    /// At most so many: 1 to 100.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
}

impl PageQuery {
    /// The size of the page.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        page_size(self.limit)
    }
}

fn page_size(limit: Option<i64>) -> Result<usize, ApiError> {
    bounded("limit", limit, Least::Above(0), 100, 100)
}

/// Part of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listed<T: ToSchema> {
    items: Vec<T>,
    /// The `page_id` of the next page.
    next_page_id: Option<String>,
}

impl<T: ToSchema> Listed<T> {
    /// A page of the first `limit` of `items`, of which there is one more if there is another page. `id` names an item.
    pub(crate) fn new(mut items: Vec<T>, limit: usize, id: impl Fn(&T) -> String) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_page_id = items.last().filter(|_| has_more).map(id);
        Self { items, next_page_id }
    }

    /// A page before the one that begins with the item of the id `next`, if there is one.
    pub(crate) fn before(items: Vec<T>, next_page_id: Option<String>) -> Self {
        Self { items, next_page_id }
    }

    /// All that there is.
    pub(crate) fn complete(items: Vec<T>) -> Self {
        Self::before(items, None)
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let sentence = error.to_string();
        match error {
            AccountError::NameTaken(_) => Self::conflict(sentence),
            AccountError::NoSuchUser(_) | AccountError::NoSuchKey(_) => Self::not_found(sentence),
            AccountError::Invalid(_) => Self::unprocessable(sentence),
            AccountError::Store(cause) => cause.into(),
        }
    }
}
