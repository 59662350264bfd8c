//! Hides the values of secrets in what others will read.

use std::{collections::BTreeSet, ops::Range};

use longshore_protocol::{Content, Event, EventBody, Message, TextContent, message::ThinkingBlock, secret::HIDDEN};
use serde_json::Value;

/// The values to hide.
///
/// There are few, and they may be long: looking for one after the other is cheaper than an automaton for all.
#[derive(Clone, Default)]
pub struct Mask {
    values: Vec<String>,
    /// Bytes of the longest value.
    longest: usize,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

impl Mask {
    /// Values shorter than this are not hidden: they occur in any text.
    const MIN_LEN: usize = 4;

    /// A mask for these values, with and without white space around them.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let values: BTreeSet<_> = values
            .into_iter()
            .flat_map(|value| [value.trim().to_owned(), value])
            .filter(|value| value.trim().len() >= Self::MIN_LEN)
            .collect();
        let longest = values.iter().map(String::len).max().unwrap_or_default();
        Self { values: values.into_iter().collect(), longest }
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `text` without the values; `None` if none occurs.
    pub fn text(&self, text: &str) -> Option<String> {
        let found = self.find(text);
        if found.is_empty() {
            return None;
        }
        let mut masked = String::with_capacity(text.len());
        let mut shown = 0;
        for Range { start, end } in found {
            masked.push_str(&text[shown..start]);
            masked.push_str(HIDDEN);
            shown = end;
        }
        masked.push_str(&text[shown..]);
        Some(masked)
    }

    /// Where values are, in order. Values that overlap are found as one.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let occurrences = |value| text.match_indices(value).map(|(start, found)| start..start + found.len());
        let mut found: Vec<_> = self.values.iter().map(String::as_str).flat_map(occurrences).collect();
        found.sort_unstable_by_key(|range| (range.start, range.end));
        found.dedup_by(|next, last| {
            let overlaps = next.start < last.end;
            if overlaps {
                last.end = last.end.max(next.end);
            }
            overlaps
        });
        found
    }

    fn string(&self, text: &mut String) {
        if let Some(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Hides the values in every text of a JSON value.
    pub fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.json(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Hides the values in what an event lets others read. Messages of the user stay as they are: they are the user's own.
    pub fn event(&self, event: &mut Event) {
        if self.is_empty() {
            return;
        }
        match &mut event.body {
            EventBody::MessageEvent(message) if event.source != longshore_protocol::Source::User => {
                self.message(&mut message.llm_message);
            }
            EventBody::ActionEvent(action) => {
                action.thought.iter_mut().for_each(|TextContent { text, .. }| self.string(text));
                if let Some(reasoning) = &mut action.reasoning_content {
                    self.string(reasoning);
                }
                if let Some(summary) = &mut action.summary {
                    self.string(summary);
                }
                self.arguments(&mut action.tool_call.arguments);
                self.typed(&mut action.action);
            }
            EventBody::ObservationEvent(observation) => self.typed(&mut observation.observation),
            EventBody::AgentErrorEvent(error) => self.string(&mut error.error),
            EventBody::ConversationErrorEvent(error) => self.string(&mut error.detail),
            EventBody::StreamingDeltaEvent(delta) => {
                delta.content.iter_mut().for_each(|text| self.string(text));
                delta.reasoning_content.iter_mut().for_each(|text| self.string(text));
            }
            _ => {}
        }
    }

    fn message(&self, message: &mut Message) {
        for content in &mut message.content {
            if let Content::Text(TextContent { text, .. }) = content {
                self.string(text);
            }
        }
        if let Some(reasoning) = &mut message.reasoning_content {
            self.string(reasoning);
        }
        // A signed block must reach the provider unchanged, so one that holds a secret cannot be kept at all.
        message.thinking_blocks.retain(|block| match block {
            ThinkingBlock::Thinking { thinking, .. } => self.text(thinking).is_none(),
            ThinkingBlock::RedactedThinking { .. } => true,
        });
    }

    /// Hides the values in JSON text: also where they are written with escapes.
    fn arguments(&self, arguments: &mut String) {
        match serde_json::from_str::<Value>(arguments) {
            Ok(mut value) => {
                let before = value.clone();
                self.json(&mut value);
                if value != before {
                    *arguments = value.to_string();
                }
            }
            Err(_) => self.string(arguments),
        }
    }

    /// Hides the values in a typed value by way of its JSON form.
    fn typed<T: serde::Serialize + serde::de::DeserializeOwned>(&self, value: &mut T) {
        let Ok(mut json) = serde_json::to_value(&*value) else { return };
        let before = json.clone();
        self.json(&mut json);
        if json != before
            && let Ok(masked) = serde_json::from_value(json)
        {
            *value = masked;
        }
    }
}

/// Hides the values in a text that comes in pieces: what may be the beginning of a value is held back.
#[derive(Debug, Clone, Default)]
pub struct StreamMask {
    /// What was not shown yet.
    rest: String,
}

impl StreamMask {
    /// What can be shown after one more piece.
    pub fn push(&mut self, mask: &Mask, piece: &str) -> String {
        self.rest.push_str(piece);
        self.show(mask, mask.longest.saturating_sub(1))
    }

    /// What can be shown when nothing more comes.
    pub fn finish(&mut self, mask: &Mask) -> String {
        self.show(mask, 0)
    }

    fn show(&mut self, mask: &Mask, held_back: usize) -> String {
        let mut end = self.rest.len().saturating_sub(held_back);
        while !self.rest.is_char_boundary(end) {
            end -= 1;
        }
        // A value is not cut in two: it waits until all of it can go.
        for found in mask.find(&self.rest) {
            if found.start < end && end < found.end {
                end = found.start;
            }
        }
        let shown: String = self.rest.drain(..end).collect();
        mask.text(&shown).unwrap_or(shown)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hides_longer_values_first_and_leaves_short_ones() {
        let mask = Mask::new(["secret".to_owned(), "secret-key".to_owned(), "abc".to_owned()]);
        assert_eq!(mask.text("a secret-key, a secret, abc").unwrap(), "a <secret-hidden>, a <secret-hidden>, abc");
        assert_eq!(mask.text("nothing"), None);
    }

    #[test]
    fn values_that_overlap_are_hidden_as_one() {
        let mask = Mask::new(["abcde".to_owned(), "defgh".to_owned()]);
        assert_eq!(mask.text("-abcdefgh-").unwrap(), "-<secret-hidden>-");
        for cut in 0..=10 {
            let (first, second) = "-abcdefgh-".split_at(cut);
            let mut stream = StreamMask::default();
            let shown = stream.push(&mask, first) + &stream.push(&mask, second) + &stream.finish(&mask);
            assert_eq!(shown, "-<secret-hidden>-", "cut at {cut}");
        }
    }

    #[test]
    fn a_value_that_comes_in_pieces_is_hidden() {
        let mask = Mask::new(["secret-key".to_owned()]);
        let mut stream = StreamMask::default();
        let pieces = ["it is sec", "ret-", "key, yes"];
        let shown: String = pieces.iter().map(|piece| stream.push(&mask, piece)).collect();
        assert_eq!(shown + &stream.finish(&mask), "it is <secret-hidden>, yes");
    }

    #[test]
    fn a_stream_shows_what_the_whole_text_would_show_however_it_is_cut() {
        let mask = Mask::new(["secret".to_owned(), "secret-key".to_owned(), "täglich-neu".to_owned()]);
        let text = "ä secret, secret-kez, secret-key, täglich-neu; secretsecret-keyx täglich-ne";
        let whole = mask.text(text).unwrap();
        let bounds: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for first in &bounds {
            for second in bounds.iter().filter(|second| *second >= first) {
                let mut stream = StreamMask::default();
                let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                let shown: String = pieces.iter().map(|piece| stream.push(&mask, piece)).collect();
                assert_eq!(shown + &stream.finish(&mask), whole, "{pieces:?}");
            }
        }
    }

    #[test]
    fn without_secrets_nothing_is_held_back() {
        let mut stream = StreamMask::default();
        assert_eq!(stream.push(&Mask::default(), "all of it"), "all of it");
        assert_eq!(stream.finish(&Mask::default()), "");
    }

    #[test]
    fn hides_values_that_are_escaped_in_json_text() {
        let mask = Mask::new(["line\"break".to_owned()]);
        let mut arguments = json!({"command": "echo line\"break"}).to_string();
        mask.arguments(&mut arguments);
        assert_eq!(arguments, r#"{"command":"echo <secret-hidden>"}"#);
    }
}
