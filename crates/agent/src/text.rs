//! Cutting long texts.

/// `text` with its middle left out, so that at most `limit` characters remain; a notice stands where it was.
pub(crate) fn cut_middle(text: &str, limit: usize) -> String {
    let len = text.chars().count();
    if len <= limit {
        return text.to_owned();
    }
    let notice = format!("\n[… {} characters left out …]\n", len - limit);
    let keep = limit.saturating_sub(notice.chars().count());
    let head = keep.div_ceil(2);
    let tail = keep - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(len - tail).collect();
    format!("{start}{notice}{end}")
}

#[cfg(test)]
mod tests {
    use super::cut_middle;

    #[test]
    fn counts_characters_and_keeps_both_ends() {
        let text = "ä".repeat(100) + &"z".repeat(100);
        let cut = cut_middle(&text, 120);
        assert!(cut.starts_with('ä') && cut.ends_with('z'));
        assert!(cut.chars().count() <= 120);
        assert_eq!(cut_middle("short", 120), "short");
    }
}
