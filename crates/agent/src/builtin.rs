//! Tools that act on the conversation itself.

use longshore_protocol::{
    Action, Content, Observation,
    observation::{FinishObservation, ThinkObservation},
    tool::{ToolAnnotations, ToolDefinition, ToolSchema},
};
use serde_json::{Value, json};

use crate::{Runner, ToolInfo};

/// The name by which the model ends its turn.
pub const FINISH: &str = "finish";

/// The built-in tool of a class name, as in an agent's `include_default_tools`.
pub fn by_class(class: &str) -> Option<ToolInfo> {
    match class {
        "FinishTool" => Some(finish()),
        "ThinkTool" => Some(think()),
        _ => None,
    }
}

/// What comes of a built-in action; `None` for the action of another tool.
pub fn observe(action: &Action) -> Option<Observation> {
    match action {
        Action::FinishAction(finish) => {
            let content = vec![Content::text(&finish.message)];
            Some(FinishObservation { content, is_error: false }.into())
        }
        Action::ThinkAction(_) => {
            let content = vec![Content::text("Your thought has been logged.")];
            Some(ThinkObservation { content, is_error: false }.into())
        }
        _ => None,
    }
}

fn finish() -> ToolInfo {
    tool(
        FINISH,
        "Finish",
        "End your turn and answer the user. Call it when the task is done, or when you cannot go on without the user. \
         Say what you did, what the result is and, if something is missing, what.",
        ("message", "The answer to the user."),
    )
}

fn think() -> ToolInfo {
    tool(
        "think",
        "Think",
        "Write a thought down without doing anything: to plan, to weigh alternatives, to work out the cause of a \
         failure. Nothing is run or changed.",
        ("thought", "The thought."),
    )
}

fn tool(name: &str, class: &str, description: &str, (field, field_description): (&str, &str)) -> ToolInfo {
    let parameters = json!({
        "type": "object",
        "properties": { field: { "type": "string", "description": field_description } },
        "required": [field],
    });
    let Value::Object(parameters) = parameters else { unreachable!("the literal above is an object") };
    ToolInfo {
        definition: ToolDefinition {
            description: description.to_owned(),
            action_type: format!("{class}Action"),
            observation_type: Some(format!("{class}Observation")),
            annotations: Some(ToolAnnotations {
                title: Some(name.to_owned()),
                read_only: true,
                destructive: false,
                idempotent: true,
                open_world: false,
            }),
            client_tool_name: None,
            input_schema: None,
            kind: format!("{class}Tool"),
            title: name.to_owned(),
        },
        schema: ToolSchema { name: name.to_owned(), description: description.to_owned(), parameters },
        runner: Runner::Machine,
    }
}
