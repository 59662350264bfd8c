//! The reference of the configuration file, made from its types: what their comments say is what operators read.

use std::fmt::Write as _;

use schemars::schema_for;
use serde_json::Value;

use super::Config;

/// What stands above the tables.
const HEAD: &str = "\
# Configuration

A file in TOML, given with `--config FILE` or `LONGSHORE_CONFIG`. Flags come before it, and it before built-in values. What it
does not know is refused. `longshore config check FILE` says whether a server takes a file, `longshore config schema` prints a
JSON Schema for editors, and `deploy/longshore.toml` is an example.

This page is made from the program: `longshore config reference > docs/configuration.md`.
";

/// How deep tables may be in tables.
const MAX_DEPTH: usize = 8;

/// The JSON Schema of a configuration file.
pub(super) fn schema() -> Value {
    schema_for!(Config).to_value()
}

/// The reference as Markdown: a table for each section.
pub(super) fn markdown() -> String {
    let schema = schema();
    let mut text = HEAD.to_owned();
    let reference = Reference { schema: &schema };
    for (name, section) in properties(&schema) {
        let (inner, is_list) = reference.inner(section);
        let title = if is_list { format!("[[{name}]]") } else { format!("[{name}]") };
        let _ = write!(text, "\n## `{title}`\n\n{}\n", reference.description(section, inner));
        let mut rows = String::new();
        reference.rows("", inner, 0, &mut rows);
        if !rows.is_empty() {
            let _ = write!(text, "\n| key | type | default | |\n|---|---|---|---|\n{rows}");
        }
    }
    text
}

struct Reference<'a> {
    schema: &'a Value,
}

impl<'a> Reference<'a> {
    fn rows(&self, prefix: &str, table: &'a Value, depth: usize, rows: &mut String) {
        if depth == MAX_DEPTH {
            return;
        }
        for (name, field) in properties(table) {
            let (inner, is_list) = self.inner(field);
            let key = format!("{prefix}{name}");
            let description = self.description(field, inner).replace('|', "\\|").replace('\n', " ");
            let (kind, default) = (self.kind(field), default(field));
            // A table that has a section of its own is described there.
            let section = properties(self.schema).find(|(_, section)| std::ptr::eq(self.inner(section).0, inner));
            if let Some((section, _)) = section.filter(|_| inner["properties"].is_object()) {
                let _ = writeln!(rows, "| `{key}` | as `[{section}]` | | {description} |");
                continue;
            }
            let _ = writeln!(rows, "| `{key}` | {kind} | {default} | {description} |");
            let separator = if is_list { "[]." } else { "." };
            self.rows(&format!("{key}{separator}"), inner, depth + 1, rows);
        }
    }

    /// What a field is made of, without `null` and references, and whether it is a list of that.
    fn inner(&self, schema: &'a Value) -> (&'a Value, bool) {
        let schema = self.resolved(schema);
        if schema["items"].is_object() {
            return (self.resolved(&schema["items"]), true);
        }
        (schema, false)
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        if let Some(choice) = schema["anyOf"].as_array().and_then(|all| all.iter().find(|it| it["type"] != "null")) {
            return self.resolved(choice);
        }
        if let Some(only) = schema["allOf"].get(0) {
            return self.resolved(only);
        }
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
            Some(name) => self.resolved(&self.schema["$defs"][name]),
            None => schema,
        }
    }

    /// What the field itself says, else what its type says.
    fn description(&self, field: &'a Value, inner: &'a Value) -> &'a str {
        let own = field["description"].as_str();
        own.or_else(|| self.resolved(field)["description"].as_str()).or(inner["description"].as_str()).unwrap_or("")
    }

    fn kind(&self, field: &'a Value) -> String {
        let schema = self.resolved(field);
        if let Some(words) = words(schema) {
            return words.iter().map(|word| format!("`{word:?}`")).collect::<Vec<_>>().join(", ");
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
            kind => kind.as_str(),
        };
        match kind {
            Some("array") => format!("list of {}", self.kind(&schema["items"])),
            Some("object") => "table".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("integer") => "whole number".to_owned(),
            Some("string") => "text".to_owned(),
            Some(kind) => kind.to_owned(),
            None => "any".to_owned(),
        }
    }
}

/// The words that a field may have, each of which may have a description of its own.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(Value::as_str).collect();
    }
    let choices = schema["oneOf"].as_array()?;
    let words = choices.iter().map(|choice| match choice["enum"].as_array() {
        Some(words) => words.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        None => choice["const"].as_str().map(|word| vec![word]),
    });
    words.collect::<Option<Vec<_>>>().map(|words| words.concat())
}

fn properties(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table["properties"].as_object().into_iter().flatten()
}

/// The built-in value; nothing if there is none, or it is empty.
fn default(field: &Value) -> String {
    match &field["default"] {
        Value::Null => String::new(),
        Value::Object(table) if table.is_empty() => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        value @ (Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            format!("`{value}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described() {
        let text = markdown();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            assert!(!line.ends_with("|  |"), "no description: {line}");
        }
        assert!(text.contains("| `resource_limits.memory` | text |"), "{text}");
        assert!(text.contains("| `retention_days` | whole number | `365` |"), "{text}");
    }
}
