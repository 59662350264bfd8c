//! Keys by name.

/// What a terminal sends for the key that `text` names; `None` for a text to type.
pub(super) fn special(text: &str) -> Option<Vec<u8>> {
    let fixed = match text {
        "ENTER" => "\r",
        "TAB" => "\t",
        "BS" => "\x7f",
        "ESC" => "\x1b",
        "UP" => "\x1b[A",
        "DOWN" => "\x1b[B",
        "RIGHT" => "\x1b[C",
        "LEFT" => "\x1b[D",
        "HOME" => "\x1b[H",
        "END" => "\x1b[F",
        "PGUP" => "\x1b[5~",
        "PGDN" => "\x1b[6~",
        _ => return control(text).map(|key| vec![key.to_ascii_uppercase() as u8 & 0x1f]),
    };
    Some(fixed.into())
}

/// The key that is pressed with Ctrl: `c` for `C-c`.
pub(super) fn control(text: &str) -> Option<char> {
    let mut rest = text.strip_prefix("C-")?.chars();
    let key = rest.next().filter(|key| key.is_ascii_alphabetic() || "@[\\]^_".contains(*key))?;
    rest.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names_and_other_texts_are_typed() {
        assert_eq!(special("C-c"), Some(vec![3]));
        assert_eq!(special("C-D"), Some(vec![4]));
        assert_eq!(special("C-\\"), Some(vec![0x1c]));
        assert_eq!(special("UP").as_deref(), Some(&b"\x1b[A"[..]));
        assert_eq!(special("ENTER").as_deref(), Some(&b"\r"[..]));
        for text in ["", "C-", "C-cc", "C-1", "up", "y", "C-ä"] {
            assert_eq!(special(text), None, "{text}");
        }
    }
}
