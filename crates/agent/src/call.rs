//! What a model's tool call means: names and arguments, repaired where the intent is clear (contract: agent §1.8).

use longshore_protocol::{
    Action,
    confirmation::Risk,
    tool::{ToolDefinition, ToolSchema},
};
use serde_json::{Map, Value, json};

use crate::ToolInfo;

/// What every tool's schema has besides the tool's own arguments.
const RISK: &str = "security_risk";
const SUMMARY: &str = "summary";

/// A tool call that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedCall {
    /// The tool's name, after repair.
    pub tool: String,
    /// What it does.
    pub action: Action,
    /// The model's own opinion of the risk.
    pub risk: Risk,
    /// What it does, in a few words.
    pub summary: String,
    /// The arguments as they are kept: the model's own text where it was JSON.
    pub arguments: String,
}

/// A tool call that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCall {
    /// The tool's name, after repair.
    pub tool: String,
    /// Why; the model reads it.
    pub error: String,
    /// The arguments as they are kept.
    pub arguments: String,
}

/// The tools as the model sees them: each with a summary, and with a risk unless it only reads.
pub fn schemas(tools: &[ToolInfo], asks_for_risk: bool) -> Vec<ToolSchema> {
    tools.iter().map(|tool| schema(tool, asks_for_risk)).collect()
}

fn schema(tool: &ToolInfo, asks_for_risk: bool) -> ToolSchema {
    let mut properties = Map::new();
    if asks_for_risk && !is_read_only(&tool.definition) {
        properties.insert(
            RISK.to_owned(),
            json!({
                "type": "string",
                "description": "How risky this action is: LOW looks or changes little, MEDIUM changes the workspace, \
                                HIGH reaches beyond it, leaks data or cannot be undone.",
                "enum": ["UNKNOWN", "LOW", "MEDIUM", "HIGH"],
            }),
        );
    }
    let mut parameters = tool.schema.parameters.clone();
    let own = match parameters.remove("properties") {
        Some(Value::Object(own)) => own,
        _ => Map::new(),
    };
    if !own.contains_key(SUMMARY) {
        let description = "What this action does, in about ten words.";
        properties.insert(SUMMARY.to_owned(), json!({"type": "string", "description": description}));
    }
    properties.extend(own);
    let required = parameters.remove("required").unwrap_or_else(|| json!([]));
    parameters.insert("type".to_owned(), json!("object"));
    parameters.insert("properties".to_owned(), Value::Object(properties));
    parameters.insert("required".to_owned(), required);
    ToolSchema { parameters, ..tool.schema.clone() }
}

fn is_read_only(definition: &ToolDefinition) -> bool {
    definition.annotations.as_ref().is_some_and(|annotations| annotations.read_only)
}

/// Reads a call by the tools there are.
///
/// # Errors
/// [`InvalidCall`] for a tool that is not there or arguments that do not fit it.
pub fn parse(tools: &[ToolInfo], name: &str, raw: &str) -> Result<ParsedCall, InvalidCall> {
    let (name, prefix) = repair_name(tools, name);
    let Some(tool) = tools.iter().find(|tool| tool.schema.name == name) else {
        let available: Vec<_> = tools.iter().map(|tool| format!("'{}'", tool.schema.name)).collect();
        let error = format!("Tool '{name}' not found. Available: [{}]", available.join(", "));
        return Err(InvalidCall { tool: name, arguments: kept(raw, &error), error });
    };
    let invalid = |error: String| InvalidCall { tool: name.clone(), arguments: kept(raw, &error), error };

    let mut arguments = parse_arguments(raw)
        .map_err(|cause| invalid(format!("Error validating tool '{name}': {cause}. Arguments: unparseable JSON")))?;
    let given: Vec<_> = arguments.keys().map(|key| format!("'{key}'")).collect();
    let fail = |cause: String| {
        invalid(format!("Error validating tool '{name}': {cause}. Parameters provided: [{}]", given.join(", ")))
    };

    let own = tool.schema.parameters.get("properties").and_then(Value::as_object);
    let declares = |field: &str| own.is_some_and(|own| own.contains_key(field));
    let risk = match arguments.remove(RISK) {
        _ if is_read_only(&tool.definition) => Risk::Unknown,
        None => Risk::Unknown,
        Some(risk) => serde_json::from_value(risk)
            .map_err(|_| fail(format!("{RISK} must be one of UNKNOWN, LOW, MEDIUM, HIGH")))?,
    };
    let summary = if declares(SUMMARY) { None } else { arguments.remove(SUMMARY) };
    if let Some(prefix) = prefix {
        prefix_command(&mut arguments, &prefix);
    }
    if name == "file_editor" {
        infer_editor_command(&mut arguments).map_err(&fail)?;
    }
    if let Some(own) = own {
        fit_types(&mut arguments, own);
        if let Some(unknown) = arguments.keys().find(|key| !own.contains_key(*key)) {
            let expected: Vec<_> = own.keys().map(String::as_str).collect();
            return Err(fail(format!("unexpected parameter '{unknown}' (expected: {})", expected.join(", "))));
        }
    }
    check_required(&arguments, &tool.schema.parameters).map_err(&fail)?;

    let summary = match summary {
        Some(Value::String(summary)) if !summary.trim().is_empty() => summary,
        _ => format!("{name}: {}", Value::Object(arguments.clone())),
    };
    let mut object = arguments;
    object.insert("kind".to_owned(), tool.definition.action_type.clone().into());
    let action = Action::from_object(object).map_err(|error| fail(error.to_string()))?;
    Ok(ParsedCall { tool: name, action, risk, summary, arguments: kept_valid(raw) })
}

/// The model's arguments as JSON, with control characters inside texts tolerated.
fn parse_arguments(raw: &str) -> Result<Map<String, Value>, String> {
    if raw.trim().is_empty() {
        return Ok(Map::new());
    }
    let value = serde_json::from_str(raw)
        .or_else(|error| serde_json::from_str(&escape_control_characters(raw)).map_err(|_| error))
        .map_err(|error| error.to_string())?;
    let Value::Object(fields) = value else { return Ok(Map::new()) };
    Ok(fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match name.as_str() {
            "security_rort" | "securtiy_risk" | "security_riks" => (RISK.to_owned(), value),
            _ => (name, value),
        })
        .collect())
}

fn escape_control_characters(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len() + 16);
    let (mut in_text, mut after_backslash) = (false, false);
    for character in raw.chars() {
        match character {
            '"' if !after_backslash => {
                in_text = !in_text;
                escaped.push(character);
            }
            character if in_text && character < ' ' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => escaped.push(character),
        }
        after_backslash = character == '\\' && !after_backslash;
    }
    escaped
}

/// Arguments that could not be used: the text, or a note in its place if it is no JSON object that clients could parse.
fn kept(raw: &str, error: &str) -> String {
    match serde_json::from_str::<Value>(raw) {
        Ok(Value::Object(_)) => raw.to_owned(),
        _ => json!({"_openhands_malformed_tool_call": true, "error": error}).to_string(),
    }
}

/// Arguments that could be used, as JSON that clients and providers can parse.
fn kept_valid(raw: &str) -> String {
    match serde_json::from_str::<Value>(raw) {
        Ok(Value::Object(_)) => raw.to_owned(),
        _ => Value::Object(parse_arguments(raw).unwrap_or_default()).to_string(),
    }
}

/// The name of a tool that exists, where the model's name clearly means it, and a word that then leads the command.
fn repair_name(tools: &[ToolInfo], name: &str) -> (String, Option<String>) {
    let exists = |name: &str| tools.iter().any(|tool| tool.schema.name == name);
    if exists(name) {
        return (name.to_owned(), None);
    }
    let word: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect();
    if exists(&word) {
        return (word, None);
    }
    let alias = match word.as_str() {
        "bash" | "command" | "execute" | "execute_bash" | "shell" => Some(("terminal", None)),
        "git" | "ls" | "pwd" | "find" => Some(("terminal", Some(word.clone()))),
        "str_replace_editor" | "str_replace" => Some(("file_editor", None)),
        _ => None,
    };
    match alias {
        Some((tool, prefix)) if exists(tool) => (tool.to_owned(), prefix),
        _ => (name.to_owned(), None),
    }
}

fn prefix_command(arguments: &mut Map<String, Value>, word: &str) {
    let command = arguments.get("command").and_then(Value::as_str).unwrap_or_default();
    if command.split_whitespace().next() != Some(word) {
        let command = format!("{word} {command}");
        arguments.insert("command".to_owned(), command.trim_end().into());
    }
}

fn infer_editor_command(arguments: &mut Map<String, Value>) -> Result<(), String> {
    if arguments.contains_key("command") {
        return Ok(());
    }
    let command = [("old_str", "str_replace"), ("insert_line", "insert"), ("file_text", "create"), ("path", "view")]
        .into_iter()
        .find(|(field, _)| arguments.contains_key(*field))
        .map(|(_, command)| command)
        .ok_or("cannot infer 'command': give one of view, create, str_replace, insert, undo_edit")?;
    arguments.insert("command".to_owned(), command.into());
    Ok(())
}

/// Turns arguments that have another JSON type than the schema wants into that type where only one reading makes sense.
fn fit_types(arguments: &mut Map<String, Value>, properties: &Map<String, Value>) {
    for (name, value) in arguments {
        let wanted = properties.get(name).and_then(|property| property.get("type")).and_then(Value::as_str);
        let fitted = match (wanted, &*value) {
            (Some("array" | "object"), Value::String(text)) => decode_leading_json(text),
            (Some("string"), Value::Array(items)) => {
                items.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|lines| lines.join("\n").into())
            }
            (Some("string"), Value::Number(number)) => Some(number.to_string().into()),
            (Some("boolean"), Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" => Some(true.into()),
                "false" => Some(false.into()),
                _ => None,
            },
            (Some("integer"), Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
            (Some("number"), Value::String(text)) => text.trim().parse::<f64>().ok().map(Value::from),
            (Some("integer"), Value::Number(number)) => whole(number).map(Value::from),
            _ => None,
        };
        if let Some(fitted) = fitted {
            *value = fitted;
        }
    }
}

/// The first JSON value of a text; what stands behind it is noise.
fn decode_leading_json(text: &str) -> Option<Value> {
    let value = serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()?;
    (value.is_array() || value.is_object()).then_some(value)
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    let float = number.as_f64().filter(|float| number.as_i64().is_none() && float.fract() == 0.0)?;
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and no argument is that large")]
    Some(float as i64)
}

fn check_required(arguments: &Map<String, Value>, parameters: &Map<String, Value>) -> Result<(), String> {
    let required = parameters.get("required").and_then(Value::as_array);
    let missing: Vec<_> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| !arguments.contains_key(*name))
        .map(|name| format!("'{name}'"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("missing required parameter {}", missing.join(", "))) }
}
