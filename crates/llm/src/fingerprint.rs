//! What makes two requests the same for a recording.
//!
//! Ids, dates and times differ from run to run without meaning anything, so they are left out, and the ids of tool calls
//! become their place in the conversation. Keys are left out because the recording has none. Of the tools only the names count, so that a better description does not make
//! every recording useless.

use std::fmt::Write;

use longshore_protocol::{Content, Message, Role};
use sha2::{Digest, Sha256};

use crate::{Request, mask::Mask};

/// One line for the tools and one for each message: the role and a hash. `mask` is that of the recording.
pub(crate) fn fingerprint(request: &Request, mask: &Mask) -> Vec<String> {
    let mut ids = Vec::new();
    let tools: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    let tools = format!("tools:{}", hash(&tools.join("\n")));
    let messages = request.messages.iter().map(|message| {
        let text = normal(message, mask, &mut ids);
        format!("{}:{}", role(message.role), hash(&text))
    });
    std::iter::once(tools).chain(messages).collect()
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// The message as a text in which nothing changes from run to run. `ids` are the ids of calls seen so far.
fn normal<'a>(message: &'a Message, mask: &Mask, ids: &mut Vec<&'a str>) -> String {
    let mut place = |id: &'a str| {
        ids.iter().position(|seen| *seen == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    let constant = |text: &str| timeless(&mask.hide(text));
    let mut text = String::new();
    for content in &message.content {
        match content {
            Content::Text(part) => text.push_str(&constant(&part.text)),
            Content::Image(images) => text.extend(images.image_urls.iter().map(|url| constant(url))),
        }
        text.push('\u{1f}');
    }
    for call in message.tool_calls.iter().flatten() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\u{1e}{}({}) #{}", call.name, constant(&call.arguments), place(&call.id));
    }
    if let Some(id) = &message.tool_call_id {
        let _ = write!(text, "\u{1e}#{}", place(id));
    }
    text
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..8].iter().fold(String::with_capacity(16), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `text` with a star for each id, date and time of day.
fn timeless(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    let mut position = 0;
    while position < bytes.len() {
        let is_start = position == 0 || !bytes[position - 1].is_ascii_alphanumeric();
        let length = if is_start && bytes[position].is_ascii_hexdigit() { variable(&bytes[position..]) } else { 0 };
        if length > 0 {
            result.push_str(&text[copied..position]);
            result.push('*');
            position += length;
            copied = position;
        } else {
            position += 1;
        }
    }
    result.push_str(&text[copied..]);
    result
}

/// How many bytes at the start are an id, a date with or without a time, or a time.
fn variable(bytes: &[u8]) -> usize {
    const UUID: &str = "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh";
    const HEX: &str = "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh";
    const DATE: &str = "dddd-dd-dd";
    const TIME: &str = "dd:dd:dd";
    const MINUTE: &str = "dd:dd";
    let ends = |length: usize| bytes.get(length).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    for id in [UUID, HEX] {
        if matches(bytes, id) && ends(id.len()) {
            return id.len();
        }
    }
    let time = |bytes: &[u8]| {
        let mut length = if matches(bytes, TIME) {
            TIME.len()
        } else if matches(bytes, MINUTE) {
            return MINUTE.len();
        } else {
            return 0;
        };
        if bytes.get(length) == Some(&b'.') {
            length += 1 + bytes[length + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
        match bytes.get(length) {
            Some(b'Z') => length + 1,
            Some(b'+' | b'-') if matches(&bytes[length + 1..], MINUTE) => length + 1 + MINUTE.len(),
            _ => length,
        }
    };
    if !matches(bytes, DATE) {
        return if matches(bytes, TIME) { time(bytes) } else { 0 };
    }
    match bytes.get(DATE.len()) {
        Some(b'T' | b' ') => match time(&bytes[DATE.len() + 1..]) {
            0 => DATE.len(),
            time => DATE.len() + 1 + time,
        },
        Some(byte) if byte.is_ascii_alphanumeric() => 0,
        _ => DATE.len(),
    }
}

/// Whether the bytes begin as `pattern` says: `h` is a hexadecimal digit, `d` a decimal one, anything else itself.
fn matches(bytes: &[u8], pattern: &str) -> bool {
    bytes.len() >= pattern.len()
        && pattern.bytes().zip(bytes).all(|(expected, byte)| match expected {
            b'h' => byte.is_ascii_hexdigit(),
            b'd' => byte.is_ascii_digit(),
            other => *byte == other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_run_to_run_is_left_out() {
        for (text, expected) in [
            ("id 11111111-2222-3333-4444-555555555555.", "id *."),
            ("id 11111111222233334444555555555555", "id *"),
            ("at 2026-11-20T06:14:00.123456Z ok", "at * ok"),
            ("at 2026-11-20 06:14:00+01:00", "at *"),
            ("on 2026-11-20 we", "on * we"),
            ("(06:14:59)", "(*)"),
            ("line 12: x 3.14 2026 1:2", "line 12: x 3.14 2026 1:2"),
            ("v2026-11-20x 2026-11-200", "v2026-11-20x 2026-11-200"),
            ("sha deadbeef", "sha deadbeef"),
            ("ü 06:14:59 ß", "ü * ß"),
        ] {
            assert_eq!(timeless(text), expected);
        }
    }
}
