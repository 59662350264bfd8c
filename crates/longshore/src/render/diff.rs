//! What changed in a file.

use std::time::Duration;

use similar::{Algorithm, ChangeTag, TextDiff};

use super::{
    line::{Line, Style},
    shorten::{Lines, cut, middle_out},
};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// How long to look for the smallest difference; after that a larger one will do.
const PATIENCE: Duration = Duration::from_millis(100);

/// The changed lines between two texts with a few around them, and how many were added and removed.
pub(crate) fn diff(before: &str, after: &str, limit: Lines) -> (Vec<Line>, usize, usize) {
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_lines(before, after);
    let (mut added, mut removed) = (0, 0);
    let mut lines = Vec::new();
    for (index, hunk) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if index > 0 {
            lines.push(Line::new(Style::Dim, "  ⋮"));
        }
        for change in hunk.iter().flat_map(|op| diff.iter_changes(op)) {
            let (mark, style) = match change.tag() {
                ChangeTag::Insert => ('+', Style::Added),
                ChangeTag::Delete => ('-', Style::Removed),
                ChangeTag::Equal => (' ', Style::Dim),
            };
            match change.tag() {
                ChangeTag::Insert => added += 1,
                ChangeTag::Delete => removed += 1,
                ChangeTag::Equal => {}
            }
            let text = change.value().trim_end_matches(['\n', '\r']);
            lines.push(Line::new(style, format!("  {mark} {}", cut(text))));
            if change.missing_newline() && change.tag() != ChangeTag::Equal {
                lines.push(Line::new(Style::Dim, "    (no newline at the end)"));
            }
        }
    }
    (middle_out(lines, limit, "  "), added, removed)
}

#[cfg(test)]
mod tests {
    use super::{super::shorten::DIFF, *};

    #[test]
    fn a_change_is_shown_with_its_surroundings() {
        let before = (1..=20).map(|number| number.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let after = before.replace("\n10\n", "\nten\n").replace("20\n", "20");
        let (lines, added, removed) = diff(&before, &after, DIFF);
        let text: Vec<_> = lines.iter().map(Line::text).collect();
        assert_eq!((added, removed), (2, 2));
        assert_eq!(text[2..5], ["    9", "  - 10", "  + ten"]);
        assert!(text.contains(&"  ⋮".to_owned()));
        assert_eq!(text.last().unwrap(), "    (no newline at the end)");
    }
}
