//! `/api/git`: what changed (contract: server §6.3).

pub(crate) mod changes;
pub(crate) mod commits;
pub(crate) mod diff;

use longshore_workspace::git::Error;
use serde::{Deserialize, Deserializer, de};

use crate::{ApiError, extract::MISMATCH, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default().merge(changes::router()).merge(commits::router()).merge(diff::router())
}

/// What names a commit must look like.
const SHA_PATTERN: &str = "^[0-9a-fA-F]{4,64}$";

/// The name of a commit, or the beginning of one.
#[derive(Debug, Clone)]
pub(crate) struct Sha(String);

impl<'de> Deserialize<'de> for Sha {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text));
        }
        Err(de::Error::custom(format!("{MISMATCH}{SHA_PATTERN}'")))
    }
}

fn refused(error: Error) -> ApiError {
    match error {
        Error::Workspace(error) => super::file::refused(error),
        error => ApiError::bad_request(error.to_string()),
    }
}
