//! Values as columns have them.

use jiff::Timestamp;
use longshore_protocol::{
    ConversationId, UtcTime, nulls,
    secret::{self, Cipher},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::failure::Failure;
use crate::{Error, Keys};

/// Turns values into JSON in which secrets are encrypted, and back.
#[derive(Clone)]
pub(super) struct Codec {
    keys: Keys,
}

impl Codec {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// The JSON text of a value, with its null fields: some of them are not null when they are absent.
    pub(super) fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<String, Error> {
        let unwritable = |cause: &dyn std::fmt::Display| Error::Database(format!("a value has no JSON form: {cause}"));
        let json = secret::sealed(self.keys.cipher(), || nulls::to_vec(value)).map_err(|error| unwritable(&error))?;
        String::from_utf8(json).map_err(|error| unwritable(&error))
    }

    /// The value of a text made by [`Codec::encode`]. `what` it is goes into the error; the value does not.
    pub(super) fn decode<T: DeserializeOwned>(&self, json: &str, what: impl FnOnce() -> String) -> Result<T, Error> {
        secret::sealed(self.keys.cipher(), || serde_json::from_str(json))
            .map_err(|error| Error::Damaged { what: what(), cause: place(&error) })
    }

    pub(super) fn seal(&self, text: &str) -> String {
        self.keys.seal(text)
    }

    pub(super) fn open(&self, token: &str, what: impl FnOnce() -> String) -> Result<String, Error> {
        self.keys.open(token).map_err(|cause| Error::Damaged { what: what(), cause })
    }
}

/// Where JSON is wrong. The message of the error may quote a secret, so it is not told.
pub(super) fn place(error: &serde_json::Error) -> String {
    let problem = match error.classify() {
        serde_json::error::Category::Data => "has a value of another type, or a secret under another key,",
        _ => "is not JSON",
    };
    format!("its text {problem} at line {} column {}", error.line(), error.column())
}

pub(super) fn id_bytes(id: &ConversationId) -> &[u8] {
    id.0.as_bytes()
}

pub(super) fn id_from(bytes: [u8; 16]) -> ConversationId {
    ConversationId(Uuid::from_bytes(bytes))
}

pub(super) fn micros(time: UtcTime) -> i64 {
    time.0.as_microsecond()
}

pub(super) fn time_from(micros: i64, what: impl FnOnce() -> String) -> Result<UtcTime, Failure> {
    Timestamp::from_microsecond(micros)
        .map(UtcTime)
        .map_err(|_| Error::Damaged { what: what(), cause: "its time is out of range".to_owned() }.into())
}

/// A number of rows, positions or tokens as SQLite has it. No such number comes near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// One row more than `limit`, to see whether there are more.
pub(super) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}
