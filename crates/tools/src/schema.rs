//! What all tools need to describe themselves.

use longshore_protocol::{Action, tool::ToolSchema};
use serde_json::{Map, Value};

use crate::Error;

/// A tool as the model sees it. `parameters` is an object schema of `type`, `description`, `properties`, `required`,
/// `items` and `enum` only: what every provider understands (contract: agent §5.1).
pub(crate) fn tool(name: &str, description: &str, parameters: Value) -> ToolSchema {
    let parameters = match parameters {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    ToolSchema { name: name.to_owned(), description: description.to_owned(), parameters }
}

/// The error for an action that belongs to another tool.
pub(crate) fn wrong_action(tool: &str, action: &Action) -> Error {
    Error::Invalid(format!("{tool} cannot run an action of kind '{}'", action.kind()))
}
