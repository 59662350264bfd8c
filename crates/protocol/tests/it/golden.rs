//! Reads recorded objects and compares what became of them.

use std::{fmt::Write as _, fs, path::Path};

use longshore_protocol::{nulls, secret::REDACTED};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The objects of a file, or those of one type in it.
pub(crate) fn recorded(file: &str, name: Option<&str>) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut content: Value = serde_json::from_str(&text).unwrap();
    let list = match name {
        Some(name) => content[name].take(),
        None => content,
    };
    match list {
        Value::Array(objects) if !objects.is_empty() => objects,
        _ => panic!("{file} has no {name:?}"),
    }
}

/// The compact form: nothing is lost, added or changed between reading and writing.
pub(crate) fn keeps_compact<T: Serialize + DeserializeOwned>(object: &Value) {
    let value: T = read(object);
    compare(&without_redacted(object), &without_redacted(&serde_json::to_value(&value).unwrap()));
}

/// The form with null fields: nothing is lost, added or changed between reading and writing.
pub(crate) fn keeps_nulls<T: Serialize + DeserializeOwned>(object: &Value) {
    let value: T = read(object);
    compare(object, &nulls::to_value(&value).unwrap());
}

/// Reads an object in both ways that serde has: from a value, and from text.
pub(crate) fn read<T: DeserializeOwned>(object: &Value) -> T {
    let text = object.to_string();
    let from_text = serde_json::from_str(&text).unwrap_or_else(|error| panic!("cannot read {text}: {error}"));
    serde_json::from_value::<T>(object.clone()).unwrap_or_else(|error| panic!("cannot read {text}: {error}"));
    from_text
}

fn compare(expected: &Value, actual: &Value) {
    let mut differences = String::new();
    diff("", expected, actual, &mut differences);
    assert!(differences.is_empty(), "read and written again, this differs:\n{differences}in {expected}");
}

fn diff(path: &str, expected: &Value, actual: &Value, out: &mut String) {
    match (expected, actual) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, field) in before {
                match after.get(key) {
                    Some(now) => diff(&format!("{path}/{key}"), field, now, out),
                    None => writeln!(out, "  {path}/{key}: {field} is lost").unwrap(),
                }
            }
            for (key, field) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                writeln!(out, "  {path}/{key}: {field} is new").unwrap();
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                diff(&format!("{path}/{index}"), before, after, out);
            }
        }
        _ if expected == actual => {}
        _ => writeln!(out, "  {path}: {expected} became {actual}").unwrap(),
    }
}

/// Leaves redacted texts out: most are read as no secret at all, and then the compact form has no field for it.
fn without_redacted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, field)| *field != REDACTED)
            .map(|(name, field)| (name.clone(), without_redacted(field)))
            .collect(),
        Value::Array(items) => items.iter().map(without_redacted).collect(),
        other => other.clone(),
    }
}
