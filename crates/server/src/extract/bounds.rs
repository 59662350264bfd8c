//! Numbers that must be within bounds.

use serde_json::json;

use super::Problem;
use crate::ApiError;

/// The lower bound of a number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Least {
    /// Anything above this.
    Above(i64),
    /// This, or anything above.
    From(i64),
}

/// The value of a query parameter if it is within bounds; `default` if it was not given.
pub(crate) fn bounded(
    name: &str,
    value: Option<i64>,
    least: Least,
    most: i64,
    default: usize,
) -> Result<usize, ApiError> {
    let Some(value) = value else { return Ok(default) };
    let problem = match least {
        Least::Above(least) if value <= least => {
            Problem::new("greater_than", format!("Input should be greater than {least}")).with(json!({"gt": least}))
        }
        Least::From(least) if value < least => {
            Problem::new("greater_than_equal", format!("Input should be greater than or equal to {least}"))
                .with(json!({"ge": least}))
        }
        _ if value > most => Problem::new("less_than_equal", format!("Input should be less than or equal to {most}"))
            .with(json!({"le": most})),
        _ => return Ok(usize::try_from(value).unwrap_or(default)),
    };
    Err(ApiError::invalid(vec![problem.at(vec!["query".into(), name.into()], value.to_string().into())]))
}
