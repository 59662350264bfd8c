//! Lines of styled text. Nothing that a model or a program wrote can steer the terminal through them.

use std::io::{self, Write};

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Dim,
    Bold,
    Command,
    Added,
    Removed,
    Warning,
    Failure,
}

impl Style {
    /// The codes that switch the style on; nothing for plain text.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Command => "\x1b[1;36m",
            Self::Added => "\x1b[32m",
            Self::Removed => "\x1b[31m",
            Self::Warning => "\x1b[33m",
            Self::Failure => "\x1b[1;31m",
        }
    }
}

/// One line of styled text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    /// A line of one style.
    pub(crate) fn new(style: Style, text: impl AsRef<str>) -> Self {
        Self::default().and(style, text)
    }

    /// A line of ordinary text.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(Style::Plain, text)
    }

    /// A line without text.
    pub(crate) fn blank() -> Self {
        Self::default()
    }

    /// The line with more text behind it.
    #[must_use]
    pub(crate) fn and(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.0.push((style, visible(text.as_ref())));
        self
    }

    /// The text alone.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Writes the line and its end.
    pub(crate) fn write(&self, output: &mut impl Write, colours: bool) -> io::Result<()> {
        for (style, text) in &self.0 {
            let code = if colours { style.code() } else { "" };
            let end = if code.is_empty() { "" } else { "\x1b[0m" };
            write!(output, "{code}{text}{end}")?;
        }
        writeln!(output)
    }
}

/// A text with everything replaced that a terminal would act on, or that would show the text in another order than it has.
fn visible(text: &str) -> String {
    let replaced = |character| match character {
        '\t' => '\t',
        '\x7f' => '\u{2421}',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => '\u{fffd}',
        other => other,
    };
    text.chars().map(replaced).collect()
}

/// A program's output as it would look on paper: without colours and cursor movements, and of a line that was written over
/// only what was there last.
pub(crate) fn flattened(output: &str) -> String {
    let without_codes = without_escapes(output);
    let lines = without_codes.split('\n').map(|line| {
        let line = line.trim_end_matches('\r');
        line.rsplit_once('\r').map_or(line, |(_, last)| last)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn without_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => match characters.next() {
                Some('[') => {
                    characters.find(|character| ('\x40'..='\x7e').contains(character));
                }
                Some(']' | 'P' | '_' | '^' | 'X') => {
                    // Such a text ends with a bell or with ESC \.
                    while let Some(character) = characters.next() {
                        if character == '\x07' || (character == '\x1b' && characters.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                Some(' '..='/') => {
                    characters.find(|character| ('\x30'..='\x7e').contains(character));
                }
                _ => {}
            },
            '\n' | '\r' | '\t' => kept.push(character),
            character if character.is_control() => {}
            character => kept.push(character),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let line = Line::plain("a\x1b[2Jb\rc\u{9b}d\u{202e}e\x07\tf");
        assert_eq!(line.text(), "a␛[2Jb␍c\u{fffd}d\u{fffd}e␇\tf");
        let mut written = Vec::new();
        Line::new(Style::Added, "x").and(Style::Plain, "y").write(&mut written, true).unwrap();
        assert_eq!(written, b"\x1b[32mx\x1b[0my\n");
    }

    #[test]
    fn output_is_shown_as_it_looked_in_the_end() {
        assert_eq!(flattened("\x1b[1;31mred\x1b[0m\r\n10%\r100%\r\nend"), "red\n100%\nend");
        assert_eq!(flattened("a\x1b]0;title\x07b\x1b]52;c;AA\x1b\\c\x1b(Bd\x08e"), "abcde");
        assert_eq!(flattened("cut \x1b[3"), "cut ");
    }
}
