//! Keeps keys out of what users read: providers like to repeat the key that they refuse.

use std::borrow::Cow;

use longshore_protocol::Secret;

/// What stands in the place of a key.
const MASK: &str = "***";

/// The shortest configured key that is looked for. Shorter ones are placeholders such as `none`, and would hide words.
const SHORTEST: usize = 6;

/// How keys of well-known services begin.
const PREFIXES: [&str; 12] =
    ["sk-", "sk_", "pk-", "gsk_", "xai-", "AIza", "hf_", "nvapi-", "r8_", "fw_", "AKIA", "ghp_"];

/// Replaces keys in texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    keys: Vec<Secret>,
}

impl Mask {
    /// Hides these keys, and everything that looks like a key.
    pub(crate) fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().map(str::trim).filter(|key| key.len() >= SHORTEST).collect();
        // A key that contains another goes first, or its rest would stay.
        keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.len()));
        Self { keys: keys.into_iter().map(Secret::new).collect() }
    }

    /// `text` without keys.
    pub(crate) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for key in &self.keys {
            if text.contains(key.expose()) {
                text = Cow::Owned(text.replace(key.expose(), MASK));
            }
        }
        if PREFIXES.iter().any(|prefix| text.contains(prefix)) {
            Cow::Owned(without_key_like_words(&text))
        } else {
            text
        }
    }
}

fn without_key_like_words(text: &str) -> String {
    const SHORTEST_WORD: usize = 10;
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '*' | '.');
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|character| !is_part(character)).unwrap_or(rest.len())];
        let is_key = word.len() >= SHORTEST_WORD && PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        result.push_str(if is_key { MASK } else { word });
        rest = &rest[word.len()..];
        let gap = &rest[..rest.find(is_part).unwrap_or(rest.len())];
        result.push_str(gap);
        rest = &rest[gap.len()..];
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hidden_and_words_are_not() {
        let mask = Mask::new(["my secret key", "none"]);
        for (text, hidden) in [
            ("used my secret key.", "used ***."),
            ("Incorrect API key provided: sk-proj-abc***xyz. Find it", "Incorrect API key provided: *** Find it"),
            ("Bearer sk-1234567890", "Bearer ***"),
            ("{\"key\":\"gsk_abcdefgh\"}", "{\"key\":\"***\"}"),
            ("none of the risk-free tasks", "none of the risk-free tasks"),
            ("sk-short", "sk-short"),
            ("ä sk-üü", "ä sk-üü"),
        ] {
            assert_eq!(mask.hide(text), hidden);
        }
    }

    #[test]
    fn a_key_inside_another_leaves_nothing() {
        assert_eq!(Mask::new(["abcdef", "abcdefghi"]).hide("abcdefghi"), "***");
    }
}
