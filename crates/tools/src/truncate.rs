//! Texts that are too long for a model.

/// The first and last characters of `text` with `notice` between them, `limit` characters in all; `text` itself if it is
/// no longer than that.
pub(crate) fn middle(text: &str, limit: usize, notice: &str) -> String {
    // A text of `limit` bytes has no more characters than that: most texts are never counted.
    if text.len() <= limit || text.chars().count() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(notice.chars().count());
    let tail = room / 2;
    format!("{}{notice}{}", first(text, room - tail), last(text, tail))
}

/// The first `count` characters.
pub(crate) fn first(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// The last `count` characters.
pub(crate) fn last(text: &str, count: usize) -> &str {
    match count.checked_sub(1) {
        None => "",
        Some(before) => text.char_indices().nth_back(before).map_or(text, |(start, _)| &text[start..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_long_text_is_cut_by_characters() {
        assert_eq!(middle("äöü", 3, "…"), "äöü");
        assert_eq!(middle("ääääüüüü", 5, "…"), "ää…üü");
        assert_eq!(middle("ääääüüüü", 6, "…"), "äää…üü");
        assert_eq!(middle("abcdef", 2, "a long notice"), "a long notice");
        assert_eq!((first("äb", 1), last("äb", 1), last("äb", 0), last("äb", 9)), ("ä", "b", "", "äb"));
    }
}
