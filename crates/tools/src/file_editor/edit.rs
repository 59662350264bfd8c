//! Changing texts: pure, the files are elsewhere.

use super::Refusal;

/// Lines shown before and after a change.
const CONTEXT: usize = 4;

/// A changed text and the lines worth looking at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    /// The whole text.
    pub(super) text: String,
    /// The first line to show.
    pub(super) first: usize,
    /// The last line to show.
    pub(super) last: usize,
}

/// Puts `new` in the place of `old`, which must be there exactly once.
///
/// Line ends count as equal, `\r\n` or `\n`; those of `new` become `line_end`, all others stay. An `old` that is not
/// found is tried without the white space around it.
pub(super) fn replace(text: &str, line_end: &str, old: &str, new: &str) -> Result<Edited, Refusal> {
    if old.is_empty() {
        return Err(Refusal::new("No replacement was performed: `old_str` is empty. Use insert to add lines."));
    }
    let plain = text.replace("\r\n", "\n");
    let old = old.replace("\r\n", "\n");
    let mut wanted = old.as_str();
    let mut places = occurrences(&plain, wanted);
    if places.is_empty() && !old.trim().is_empty() {
        wanted = old.trim();
        places = occurrences(&plain, wanted);
    }
    match places[..] {
        [] => Err(Refusal::new(format!(
            "No replacement was performed: `old_str` is not in the file. It must match exactly, white space included. \
             Looked for:\n{old}"
        ))),
        [place] => {
            let line = line_of(&plain, place);
            let (start, end) = (raw_offset(text, place), raw_offset(text, place + wanted.len()));
            let new = with_line_end(new, line_end);
            let last = line + new.matches('\n').count() + CONTEXT;
            let text = [&text[..start], &new, &text[end..]].concat();
            Ok(Edited { text, first: line.saturating_sub(CONTEXT).max(1), last })
        }
        _ => {
            let mut lines: Vec<_> = places.iter().map(|place| line_of(&plain, *place)).collect();
            lines.dedup();
            Err(Refusal::new(format!(
                "No replacement was performed: `old_str` occurs {} times, in lines {lines:?}. Add context to make it \
                 unique.",
                places.len()
            )))
        }
    }
}

/// Puts `new` after line `after`.
pub(super) fn insert(text: &str, line_end: &str, after: usize, new: &str) -> Result<Edited, Refusal> {
    let count = text.lines().count();
    if after > count {
        let why = format!("It must be between 0 and {count}, the lines of the file.");
        return Err(Refusal::parameter("insert_line", &after.to_string(), &why));
    }
    let at = text.split_inclusive('\n').take(after).map(str::len).sum();
    let (head, tail) = text.split_at(at);
    let mut new = with_line_end(new, line_end);
    if !new.ends_with('\n') {
        new.push_str(line_end);
    }
    let joint = if head.is_empty() || head.ends_with('\n') { "" } else { line_end };
    let last = after + new.matches('\n').count() + CONTEXT;
    Ok(Edited { text: [head, joint, &new, tail].concat(), first: (after + 1).saturating_sub(CONTEXT).max(1), last })
}

/// Where `wanted` begins in `text`, without overlaps.
fn occurrences(text: &str, wanted: &str) -> Vec<usize> {
    text.match_indices(wanted).map(|(place, _)| place).collect()
}

fn line_of(text: &str, place: usize) -> usize {
    1 + text[..place].matches('\n').count()
}

/// The place in `text` of what is at `plain` when every `\r\n` is a `\n`.
fn raw_offset(text: &str, plain: usize) -> usize {
    let mut removed = 0;
    for (place, _) in text.match_indices("\r\n") {
        if place - removed >= plain {
            break;
        }
        removed += 1;
    }
    plain + removed
}

fn with_line_end(text: &str, line_end: &str) -> String {
    let plain = text.replace("\r\n", "\n");
    if line_end == "\n" { plain } else { plain.replace('\n', line_end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str, end: &str, old: &str, new: &str) -> String {
        replace(text, end, old, new).unwrap().text
    }

    #[test]
    fn a_replacement_leaves_the_rest_byte_for_byte() {
        assert_eq!(replaced("a\r\nb\r\nc\r\n", "\r\n", "a\nb", "x\ny\nz"), "x\r\ny\r\nz\r\nc\r\n");
        assert_eq!(replaced("a\r\nb\nc\r\nd", "\r\n", "b\nc", "B"), "a\r\nB\r\nd");
        assert_eq!(replaced("a\r\nb\r\n", "\r\n", "\nb", ""), "a\r\n");
        assert_eq!(replaced("a\nb\n", "\n", "b\n", ""), "a\n");
        assert_eq!(replaced("let ä = 1;\n", "\n", "  ä = 1; \n\n", "ö = 2;  "), "let ö = 2;  \n");
    }

    #[test]
    fn a_text_that_is_not_there_once_is_not_replaced() {
        let message = |old| replace("a\nb\na a\n", "\n", old, "c").unwrap_err().to_string();
        assert!(message("a").contains("3 times, in lines [1, 3]"), "{}", message("a"));
        assert!(message("zz").contains("not in the file"));
        assert!(message("").contains("empty"));
        assert!(message(" \t ").contains("not in the file"));
    }

    #[test]
    fn lines_are_inserted_whole() {
        let inserted = |text, end, after, new| insert(text, end, after, new).unwrap().text;
        assert_eq!(inserted("a\nb\n", "\n", 0, "x"), "x\na\nb\n");
        assert_eq!(inserted("a\nb\n", "\n", 1, "x\n"), "a\nx\nb\n");
        assert_eq!(inserted("a\nb", "\n", 2, "x"), "a\nb\nx\n");
        assert_eq!(inserted("a\r\nb\r\n", "\r\n", 1, "x\ny"), "a\r\nx\r\ny\r\nb\r\n");
        assert_eq!(inserted("", "\n", 0, "x"), "x\n");
        assert!(insert("a\n", "\n", 2, "x").unwrap_err().to_string().contains("between 0 and 1"));
    }

    #[test]
    fn the_lines_around_a_change_are_named() {
        let text = (1..=20).map(|line| format!("line {line}.\n")).collect::<Vec<_>>().concat();
        let edited = replace(&text, "\n", "line 10.\n", "a\nb\nc\n").unwrap();
        assert_eq!((edited.first, edited.last), (6, 17));
        let edited = insert(&text, "\n", 10, "a\nb").unwrap();
        assert_eq!((edited.first, edited.last), (7, 16));
    }
}
