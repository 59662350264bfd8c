//! Secrets and how they leave the process.
//!
//! A [`Secret`] serialises as `"**********"`, or inside [`omitted`] as null. Only inside [`exposed`] it serialises as its
//! text (a file the user owns, a request to a model), and only inside [`sealed`] as an encrypted token (our own storage).
//! The choice belongs to the surface and not to the type, so it is a scope around the serialisation, on the current thread.

use std::{cell::RefCell, fmt, rc::Rc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// What a client sees in the place of a secret.
pub const REDACTED: &str = "**********";

/// What a reader of an event sees where a secret's value stood.
pub const HIDDEN: &str = "<secret-hidden>";

/// Encrypts and decrypts secrets for storage.
pub trait Cipher {
    /// The token for `text`.
    fn seal(&self, text: &str) -> String;

    /// The text of a token made by [`Cipher::seal`].
    ///
    /// # Errors
    /// A sentence about what is wrong, without the token: a damaged token or another key.
    fn open(&self, token: &str) -> Result<String, String>;
}

#[derive(Clone)]
enum Mode {
    Redact,
    Omit,
    Expose,
    Seal(Rc<dyn Cipher>),
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Redact) };
}

struct Restore(Mode);

impl Drop for Restore {
    fn drop(&mut self) {
        MODE.with(|mode| mode.replace(self.0.clone()));
    }
}

fn scope<T>(mode: Mode, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(MODE.with(|current| current.replace(mode)));
    work()
}

/// Runs `work`; secrets it serialises appear as null, as in REST answers.
pub fn omitted<T>(work: impl FnOnce() -> T) -> T {
    scope(Mode::Omit, work)
}

/// Runs `work`; secrets it serialises appear as their text.
pub fn exposed<T>(work: impl FnOnce() -> T) -> T {
    scope(Mode::Expose, work)
}

/// Runs `work`; secrets it serialises appear as tokens of `cipher`, and tokens it reads become their text.
pub fn sealed<T>(cipher: Rc<dyn Cipher>, work: impl FnOnce() -> T) -> T {
    scope(Mode::Seal(cipher), work)
}

/// A value that must not be seen: a key, a token, a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Whoever calls this decides where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A text as the current scope lets it be seen; `None` where it is left out.
fn shown(text: &str) -> Option<String> {
    MODE.with(|mode| match &*mode.borrow() {
        Mode::Redact => Some(REDACTED.to_owned()),
        Mode::Omit => None,
        Mode::Expose => Some(text.to_owned()),
        Mode::Seal(cipher) => Some(cipher.seal(text)),
    })
}

/// A stored text as it was before it was sealed.
fn opened<E: de::Error>(text: String) -> Result<String, E> {
    MODE.with(|mode| match &*mode.borrow() {
        Mode::Seal(cipher) => cipher.open(&text).map_err(E::custom),
        Mode::Redact | Mode::Omit | Mode::Expose => Ok(text),
    })
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match shown(&self.0) {
            Some(text) => serializer.serialize_str(&text),
            None => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        opened(String::deserialize(deserializer)?).map(Self)
    }
}

impl utoipa::PartialSchema for Secret {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Secret {}

/// Reads an optional secret: blank and redacted texts mean none.
///
/// # Errors
/// Anything but a string or null.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.trim().is_empty() && text != REDACTED => opened(text).map(|text| Some(Secret(text))),
        _ => Ok(None),
    }
}

/// Whether a field of this name holds a secret: the words that the official server redacts by.
pub fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 8] = ["AUTHORIZATION", "COOKIE", "CREDENTIAL", "KEY", "PASSWORD", "SECRET", "SESSION", "TOKEN"];
    let name = name.to_uppercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// JSON that Longshore keeps for a client without looking inside, whose secret-looking fields are treated as
/// [`Secret`]s: every text below a key that [`is_secret_name`], `env`, `environment` or `headers`.
#[derive(Clone, PartialEq, Default)]
pub struct Opaque(pub Value);

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opaque")
    }
}

fn hides_children(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "env" | "environment" | "headers" | "secrets") || is_secret_name(name)
}

fn map_secrets<E>(
    value: &Value,
    is_secret: bool,
    change: &mut impl FnMut(&str) -> Result<String, E>,
) -> Result<Value, E> {
    Ok(match value {
        Value::String(text) if is_secret => Value::String(change(text)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| map_secrets(item, is_secret, change)).collect::<Result<_, E>>()?)
        }
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), map_secrets(field, is_secret || hides_children(name), change)?)))
                .collect::<Result<_, E>>()?,
        ),
        other => other.clone(),
    })
}

/// `value` with every text in a secret-looking place replaced by `<redacted>`: for echoes of a client's own input.
pub fn redact(value: &Value) -> Value {
    let Ok(value) = map_secrets(value, false, &mut |_| Ok::<_, std::convert::Infallible>("<redacted>".to_owned()));
    value
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut change = |text: &str| Ok(shown(text).unwrap_or_else(|| REDACTED.to_owned()));
        map_secrets::<S::Error>(&self.0, false, &mut change)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        map_secrets(&value, false, &mut |text| opened::<D::Error>(text.to_owned())).map(Self)
    }
}

impl utoipa::PartialSchema for Opaque {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        // Not any JSON, which would include the null that stands for its absence.
        let any = utoipa::openapi::schema::AdditionalProperties::FreeForm(true);
        let object = utoipa::openapi::ObjectBuilder::new().additional_properties(Some(any));
        object.build().into()
    }
}

impl utoipa::ToSchema for Opaque {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Reverse;

    impl Cipher for Reverse {
        fn seal(&self, text: &str) -> String {
            text.chars().rev().collect()
        }

        fn open(&self, token: &str) -> Result<String, String> {
            Ok(self.seal(token))
        }
    }

    #[test]
    fn a_secret_is_redacted_unless_the_surface_asks() {
        let secret = Secret::new("abc");
        assert_eq!(json!(secret), REDACTED);
        assert_eq!(exposed(|| json!(secret)), "abc");
        let token = sealed(Rc::new(Reverse), || json!(secret));
        assert_eq!(token, "cba");
        assert_eq!(sealed(Rc::new(Reverse), || serde_json::from_value::<Secret>(token).unwrap()), secret);
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn opaque_json_hides_what_looks_secret_at_any_depth() {
        let opaque = Opaque(json!({"url": "u", "headers": {"X": "1"}, "auth": {"api_key": "k", "n": 1}}));
        assert_eq!(
            json!(opaque),
            json!({"url": "u", "headers": {"X": REDACTED}, "auth": {"api_key": REDACTED, "n": 1}})
        );
        let stored = sealed(Rc::new(Reverse), || json!(opaque));
        let read: Opaque = sealed(Rc::new(Reverse), || serde_json::from_value(stored).unwrap());
        assert_eq!(read, opaque);
    }
}
