//! Long texts, shortened in the middle.

use super::line::{Line, Style};

/// Characters of a line that are shown.
const WIDTH: usize = 400;

/// How many lines of a text are shown: so many of its start and so many of its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Output of programs.
pub(crate) const OUTPUT: Lines = Lines { first: 12, last: 18 };
/// What an agent thinks and says on the way, and commands.
pub(crate) const PROSE: Lines = Lines { first: 30, last: 10 };
/// Changes of a file.
pub(crate) const DIFF: Lines = Lines { first: 50, last: 20 };
/// What a user is asked to agree to.
pub(crate) const QUESTION: Lines = Lines { first: 200, last: 100 };

/// The lines of a text, those in the middle of a long one replaced by a note.
pub(crate) fn shortened(text: &str, limit: Lines, indent: &str, style: Style) -> Vec<Line> {
    let lines: Vec<_> =
        text.trim_end().lines().map(|line| Line::new(style, format!("{indent}{}", cut(line)))).collect();
    middle_out(lines, limit, indent)
}

/// The lines without those in the middle, and a note in their place.
pub(crate) fn middle_out(mut lines: Vec<Line>, limit: Lines, indent: &str) -> Vec<Line> {
    let shown = limit.first + limit.last;
    // A note in the place of a single line would save nothing.
    if lines.len() <= shown + 1 {
        return lines;
    }
    let left_out = lines.len() - shown;
    let note = Line::new(Style::Dim, format!("{indent}… {left_out} lines left out …"));
    lines.splice(limit.first..limit.first + left_out, [note]);
    lines
}

/// A line that is not longer than a screen or two.
pub(crate) fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}… ({} more characters)", &line[..end], line[end..].chars().count()),
        None => line.to_owned(),
    }
}

/// A text in one line of at most `width` characters.
pub(crate) fn in_one_line(text: &str, width: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(width) {
        Some(_) => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_and_says_so() {
        let text = (1..=9).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
        let show = |first, last| {
            let lines = shortened(&text, Lines { first, last }, " ", Style::Plain);
            lines.iter().map(|line| line.text().trim().to_owned()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(show(2, 1), "1|2|… 6 lines left out …|9");
        assert_eq!(show(5, 3), "1|2|3|4|5|6|7|8|9");
        assert_eq!(in_one_line("a  b\nc d", 5), "a b …");
        assert!(cut(&"x".repeat(1000)).ends_with("(600 more characters)"));
    }
}
