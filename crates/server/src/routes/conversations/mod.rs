//! `/api/conversations` (contract: server §3, §4.4).

mod control;
pub(crate) mod create;
mod delete;
mod events;
mod read;
mod search;
mod settings;
mod update;

use axum::http::StatusCode;
use longshore_engine::{Error, Skills};
use longshore_protocol::{ConversationId, error::ValidationError};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::{ApiError, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default()
        .merge(control::router())
        .merge(create::router())
        .merge(delete::router())
        .merge(events::router())
        .merge(read::router())
        .merge(search::router())
        .merge(settings::router())
        .merge(update::router())
}

/// Seconds after which somebody may ask again for a run that found neither a place nor room in the queue.
const RETRY_RUN: u64 = 5;

/// The id in a path.
#[derive(Deserialize)]
pub(crate) struct Id {
    pub(crate) conversation_id: ConversationId,
}

/// What an answer about a conversation contains.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SkillsQuery {
    /// Whether the agent's skills are in the answer; they may be large.
    #[serde(default)]
    include_skills: bool,
}

impl SkillsQuery {
    fn wanted(&self) -> Skills {
        if self.include_skills { Skills::Included } else { Skills::Trimmed }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let sentence = error.to_string();
        match error {
            Error::NotFound(_) => Self::not_found(sentence),
            Error::AlreadyRunning | Error::IdTaken(_) => Self::conflict(sentence),
            Error::AtCapacity | Error::SavedAtCapacity(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, sentence).retry_after(RETRY_RUN)
            }
            Error::Invalid { field, reason } => Self::invalid(vec![invalid_field(field, &reason)]),
            Error::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence),
            Error::Workspace(cause) => {
                Self::new(StatusCode::CONFLICT, format!("The conversation's workspace cannot be used: {cause}"))
            }
            Error::Store(cause) => cause.into(),
            error => Self::internal("A conversation could not be read", &error),
        }
    }
}

/// The official server names conversations that are not there in two ways; this is the one of `/api/conversations/{id}`.
fn plain_not_found(error: Error) -> ApiError {
    match error {
        Error::NotFound(_) => ApiError::not_found("Not Found"),
        error => error.into(),
    }
}

fn invalid_field(field: &str, reason: &str) -> ValidationError {
    let Value::Object(context) = json!({"error": reason}) else { unreachable!("the literal is an object") };
    ValidationError {
        r#type: "value_error".to_owned(),
        loc: vec!["body".into(), field.into()],
        msg: format!("Value error, {reason}"),
        input: Value::Null,
        ctx: Some(context),
    }
}
