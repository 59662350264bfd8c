//! What is wrong with a value, in the words of the official server's 422 answers.
//!
//! serde tells what it missed in sentences. They are taken apart here, because clients see other words and because
//! serde's quote the value, which may be a secret.

use longshore_protocol::error::ValidationError;
use serde_json::{Map, Value, json};

/// How the sentence of a type that wants a pattern begins; the pattern and a quotation mark follow.
pub(crate) const MISMATCH: &str = "String should match pattern '";

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) context: Option<Value>,
    /// The name that was missing or must not be there, below the place where it was noticed.
    pub(crate) field: Option<String>,
}

impl Problem {
    pub(crate) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), context: None, field: None }
    }

    pub(crate) fn with(mut self, context: Value) -> Self {
        self.context = Some(context);
        self
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new("missing", "Field required") }
    }

    /// A text that is none of `expected`.
    pub(crate) fn unknown<S: AsRef<str>>(expected: &[S]) -> Self {
        let quoted: Vec<_> = expected.iter().map(|one| format!("'{}'", one.as_ref())).collect();
        let expected = match &quoted[..] {
            [] => "nothing".to_owned(),
            [one] => one.clone(),
            [first @ .., last] => format!("{} or {last}", first.join(", ")),
        };
        Self::new("literal_error", format!("Input should be {expected}")).with(json!({"expected": expected}))
    }

    /// What a sentence of serde means.
    pub(crate) fn of_message(message: &str) -> Self {
        let message = message.split(" at line ").next().unwrap_or(message);
        if let Some(field) = between_ticks(message, "missing field ") {
            return Self::missing(field);
        }
        if let Some(field) = between_ticks(message, "unknown field ") {
            let text = "Extra inputs are not permitted";
            return Self { field: Some(field.to_owned()), ..Self::new("extra_forbidden", text) };
        }
        if message.starts_with("unknown variant ") {
            let expected: Vec<_> = message.split('`').skip(3).step_by(2).collect();
            return Self::unknown(&expected);
        }
        if let Some(why) = message.strip_prefix("UUID parsing failed: ") {
            return Self::new("uuid_parsing", format!("Input should be a valid UUID, {why}"))
                .with(json!({"error": why}));
        }
        if let Some(pattern) = message.strip_prefix(MISMATCH).and_then(|pattern| pattern.strip_suffix('\'')) {
            return Self::new("string_pattern_mismatch", message).with(json!({"pattern": pattern}));
        }
        match message.split_once(", expected ") {
            Some((found, expected)) if found.starts_with("invalid ") => Self::unexpected(found, expected),
            _ => Self::new("value_error", format!("Value error, {message}")).with(json!({"error": {}})),
        }
    }

    fn unexpected(found: &str, expected: &str) -> Self {
        let is_integer =
            matches!(expected, "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize");
        match expected {
            _ if is_integer && found.contains("floating point") => {
                Self::new("int_from_float", "Input should be a valid integer, got a number with a fractional part")
            }
            _ if is_integer && found.contains("integer `-") && expected.starts_with('u') => {
                Self::new("greater_than_equal", "Input should be greater than or equal to 0").with(json!({"ge": 0}))
            }
            _ if is_integer && found.contains("string") => {
                Self::new("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            }
            _ if is_integer => Self::new("int_type", "Input should be a valid integer"),
            "f32" | "f64" => Self::new("float_type", "Input should be a valid number"),
            "a boolean" => Self::new("bool_type", "Input should be a valid boolean"),
            "a string" | "string" => Self::new("string_type", "Input should be a valid string"),
            "a sequence" => Self::new("list_type", "Input should be a valid list"),
            "a map" => Self::new("dict_type", "Input should be a valid dictionary"),
            _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => Self::new(
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            ),
            _ if expected.contains("UUID") => {
                Self::new("uuid_type", "UUID input should be a string, bytes or UUID object")
            }
            _ => Self::new("value_error", format!("Value error, expected {expected}")).with(json!({"error": {}})),
        }
    }

    /// The problem as clients see it: at `loc`, with what was there.
    pub(crate) fn at(self, mut loc: Vec<Value>, input: Value) -> ValidationError {
        loc.extend(self.field.map(Value::String));
        let ctx = match self.context {
            Some(Value::Object(context)) => Some(context),
            Some(other) => Some(Map::from_iter([("error".to_owned(), other)])),
            None => None,
        };
        ValidationError { r#type: self.kind.to_owned(), loc, msg: self.text, input, ctx }
    }
}

fn between_ticks<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.strip_prefix(before)?.strip_prefix('`')?.split('`').next()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::Problem;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "lowercase")]
    #[expect(dead_code, reason = "only read by serde")]
    struct Input {
        text: String,
        #[serde(default)]
        number: u64,
        #[serde(default)]
        flag: bool,
        #[serde(default)]
        list: Vec<u8>,
        #[serde(default)]
        choice: Choice,
        #[serde(default)]
        id: uuid::Uuid,
    }

    #[derive(Debug, Deserialize, Default)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        #[default]
        One,
        Two,
        Three,
    }

    fn kind(input: Value) -> (&'static str, String) {
        let problem = Problem::of_message(&serde_json::from_value::<Input>(input).unwrap_err().to_string());
        (problem.kind, problem.text)
    }

    #[test]
    fn serde_sentences_become_the_official_types_without_the_value() {
        for (input, expected) in [
            (json!({}), "missing"),
            (json!({"text": 1}), "string_type"),
            (json!({"text": null}), "string_type"),
            (json!({"text": "", "number": 1.5}), "int_from_float"),
            (json!({"text": "", "number": -1}), "greater_than_equal"),
            (json!({"text": "", "number": "s3cr3t"}), "int_parsing"),
            (json!({"text": "", "number": []}), "int_type"),
            (json!({"text": "", "flag": "s3cr3t"}), "bool_type"),
            (json!({"text": "", "list": "s3cr3t"}), "list_type"),
            (json!({"text": "", "choice": "s3cr3t"}), "literal_error"),
            (json!({"text": "", "id": "nope"}), "uuid_parsing"),
            (json!({"text": "", "more": 1}), "extra_forbidden"),
            (json!("s3cr3t"), "model_attributes_type"),
        ] {
            let (kind, text) = kind(input.clone());
            assert_eq!(kind, expected, "{input}: {text}");
            assert!(!text.contains("s3cr3t"), "{text}");
        }
        assert_eq!(kind(json!({"text": "", "choice": "x"})).1, "Input should be 'one', 'two' or 'three'");
    }
}
