//! Who may ask how much.
//!
//! Before a route is looked for, requests are counted by the address they come from; when a principal is known, by user.
//! Whoever is on the machine of a server without keys is not counted.

mod address;
mod count;
mod pace;
mod rates;

use std::net::IpAddr;

pub(crate) use address::{Client, Group, is_proxy};
use axum::http::{Method, StatusCode};
pub(crate) use count::{Counted, Counts};
use longshore_store::Owner;
pub(crate) use pace::{Paced, TooSlow};

use self::rates::{Rates, WrongKeys};
use crate::{ApiError, Limits, Metrics, Principal, auth::Denied, state::AppState};

/// What is counted of whom.
#[derive(Debug)]
pub(crate) struct Protection {
    rates: Rates,
    wrong_keys: WrongKeys,
    sockets: Counts<Owner>,
    metrics: Metrics,
}

impl Protection {
    pub(crate) fn new(limits: &Limits, metrics: Metrics) -> Self {
        Self {
            rates: Rates::new(limits),
            wrong_keys: WrongKeys::new(limits.wrong_keys_per_minute),
            sockets: Counts::new(limits.sockets_per_user),
            metrics,
        }
    }

    /// Counts a request from an address.
    ///
    /// # Errors
    /// 429 if there were too many.
    pub(crate) fn admit_address(&self, address: IpAddr) -> Result<(), ApiError> {
        self.rates.address(Group::of(address)).map_err(|seconds| self.too_many("address", seconds))
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    /// 429 if there were too many.
    pub(crate) fn admit_user(&self, user: &Owner, method: &Method) -> Result<(), ApiError> {
        let is_read = method.is_safe() || method.as_str() == "QUERY";
        let outcome = if is_read { self.rates.read(user) } else { self.rates.write(user) };
        outcome.map_err(|seconds| self.too_many(if is_read { "reads" } else { "writes" }, seconds))
    }

    fn too_many(&self, limit: &'static str, seconds: u64) -> ApiError {
        self.metrics.rate_limited(limit);
        let detail = "Too many requests. Retry after the seconds in the header Retry-After.";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds)
    }

    /// Room for one more socket of a user, until the answer is dropped; none if there are as many as may be.
    pub(crate) fn socket(&self, user: &Owner) -> Option<Counted<Owner>> {
        let room = self.sockets.one_more(user.clone());
        if room.is_none() {
            self.metrics.rate_limited("sockets");
        }
        room
    }
}

/// Who shows a key, unless too many wrong ones came from the same address.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn authenticate(state: &AppState, client: Option<Client>, key: &str) -> Result<Principal, Refused> {
    let wrong_keys = &state.protection().wrong_keys;
    let Some(group) = client.map(|client| Group::of(client.0)) else {
        return Ok(state.authenticator().authenticate(key).await?);
    };
    wrong_keys.check(group, key).map_err(|seconds| {
        state.metrics().rate_limited("wrong_keys");
        Refused::TooMany(seconds)
    })?;
    let outcome = state.authenticator().authenticate(key).await;
    match &outcome {
        Ok(_) => wrong_keys.note_good(group, key),
        Err(Denied::Unknown) => wrong_keys.note_wrong(group),
        Err(Denied::Ended(_) | Denied::Unavailable(_)) => {}
    }
    Ok(outcome?)
}

/// Why a key is not accepted.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It was looked up.
    Denied(Denied),
    /// It was not looked up, and will not be for so many seconds.
    TooMany(u64),
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Denied(denied) => denied.into(),
            Refused::TooMany(seconds) => {
                let detail = "Too many wrong keys came from this address. Check the key and retry later.";
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds)
            }
        }
    }
}
