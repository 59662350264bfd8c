//! What comes out of a terminal, taken apart into text and the marks of our shell functions.

/// The number of our operating system command, which no program uses.
const NUMBER: &str = "7717";

/// Escape sequences that are longer are no escape sequences.
const MAX_SEQUENCE: usize = 16 * 1024;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// A part of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Something to read.
    Text(String),
    /// Our shell functions say something.
    Mark(Mark),
}

/// What our shell functions say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The process that says it: `$$`.
    pub(super) shell: String,
    /// The number of the command that it is about.
    pub(super) seq: u64,
    /// The end of the command; else its beginning.
    pub(super) end: Option<End>,
}

/// How a command ended. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct End {
    pub(super) exit_code: i32,
    /// The last process started in the background.
    pub(super) background: Option<i32>,
    pub(super) user: String,
    pub(super) host: String,
    pub(super) folder: Option<String>,
    pub(super) python: String,
}

/// Takes output apart, in pieces of any size.
///
/// Carriage returns and zero bytes are left out, and so is what asks the terminal for an answer or turns bracketed paste
/// on: shown again on a real terminal it would type into that one. Colours and all else stay. Bytes that are not UTF-8
/// become U+FFFD.
#[derive(Debug)]
pub(super) struct Parser {
    prefix: String,
    state: State,
    /// The sequence that has begun, with its first byte.
    sequence: Vec<u8>,
    /// Text bytes that are not given out.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Escape,
    /// `ESC [`
    Control,
    /// `ESC ]` or `ESC P`
    String,
    /// `ESC` in a string, which ends it if `\` follows.
    StringEscape,
}

impl Parser {
    /// Understands marks that carry `nonce`.
    pub(super) fn new(nonce: &str) -> Self {
        Self { prefix: format!("{NUMBER};{nonce};"), state: State::Text, sequence: Vec::new(), text: Vec::new() }
    }

    /// Takes in what was read.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut impl FnMut(Piece)) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if self.state == State::Text {
                let plain = rest.iter().position(|byte| matches!(*byte, ESCAPE | b'\r' | 0)).unwrap_or(rest.len());
                self.text.extend_from_slice(&rest[..plain]);
                rest = &rest[plain..];
                if let Some((&byte, after)) = rest.split_first() {
                    if byte == ESCAPE {
                        self.begin_sequence();
                    }
                    rest = after;
                }
                continue;
            }
            rest = &rest[1..];
            self.step(byte, out);
        }
        self.give_text(out, false);
    }

    fn begin_sequence(&mut self) {
        self.state = State::Escape;
        self.sequence.clear();
        self.sequence.push(ESCAPE);
    }

    fn step(&mut self, byte: u8, out: &mut impl FnMut(Piece)) {
        if byte == ESCAPE && !matches!(self.state, State::String | State::StringEscape) {
            // The sequence is cut short by another one.
            self.keep_sequence();
            self.begin_sequence();
            return;
        }
        match self.state {
            State::Text => {}
            State::Escape => {
                self.sequence.push(byte);
                match byte {
                    b'[' => self.state = State::Control,
                    b']' | b'P' => self.state = State::String,
                    // DECID asks what the terminal is.
                    b'Z' => self.state = State::Text,
                    _ => self.keep_sequence(),
                }
            }
            State::Control => {
                self.sequence.push(byte);
                match byte {
                    0x20..=0x3f if self.sequence.len() < MAX_SEQUENCE => {}
                    0x40..=0x7e if is_query(&self.sequence[2..]) => self.state = State::Text,
                    _ => self.keep_sequence(),
                }
            }
            State::String => match byte {
                BELL => {
                    self.sequence.push(byte);
                    self.end_string(1, out);
                }
                ESCAPE => self.state = State::StringEscape,
                _ => {
                    self.sequence.push(byte);
                    if self.sequence.len() >= MAX_SEQUENCE {
                        self.keep_sequence();
                    }
                }
            },
            State::StringEscape => {
                if byte == b'\\' {
                    self.sequence.extend([ESCAPE, byte]);
                    self.end_string(2, out);
                } else {
                    self.keep_sequence();
                    self.begin_sequence();
                    self.step(byte, out);
                }
            }
        }
    }

    /// Handles a string that ended; its last `terminator` bytes only say so.
    fn end_string(&mut self, terminator: usize, out: &mut impl FnMut(Piece)) {
        let body = &self.sequence[2..self.sequence.len() - terminator];
        let is_command = self.sequence[1] == b']';
        if is_command && body.starts_with(NUMBER.as_bytes()) {
            let mark = String::from_utf8_lossy(body).strip_prefix(&self.prefix).and_then(Mark::read);
            self.state = State::Text;
            self.give_text(out, true);
            if let Some(mark) = mark {
                out(Piece::Mark(mark));
            }
        } else if if is_command { body.ends_with(b";?") } else { body.starts_with(b"$q") || body.starts_with(b"+q") } {
            self.state = State::Text;
        } else {
            self.keep_sequence();
        }
    }

    /// Takes the sequence for text.
    fn keep_sequence(&mut self) {
        self.state = State::Text;
        let kept = self.sequence.iter().filter(|byte| !matches!(**byte, b'\r' | 0));
        self.text.extend(kept);
        self.sequence.clear();
    }

    /// Gives out the text so far; the beginning of a character waits for its other bytes unless this `is_all`.
    fn give_text(&mut self, out: &mut impl FnMut(Piece), is_all: bool) {
        let mut text = String::with_capacity(self.text.len());
        let mut waiting = 0;
        let mut chunks = self.text.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let bad = chunk.invalid();
            let is_cut = std::str::from_utf8(bad).is_err_and(|error| error.error_len().is_none());
            if !is_all && chunks.peek().is_none() && is_cut {
                waiting = bad.len();
            } else if !bad.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.text.drain(..self.text.len() - waiting);
        if !text.is_empty() {
            out(Piece::Text(text));
        }
    }
}

/// Whether a control sequence, from after `ESC [`, asks for an answer or switches bracketed paste.
fn is_query(sequence: &[u8]) -> bool {
    let Some((last, parameters)) = sequence.split_last() else { return false };
    match last {
        // Status and position; what the terminal is.
        b'n' | b'c' => true,
        // Modes; the terminal's version; keyboard modes; the window.
        b'p' => parameters.ends_with(b"$"),
        b'q' => parameters.starts_with(b">"),
        b'u' => parameters.starts_with(b"?"),
        b't' => [&b"11"[..], b"13", b"14", b"15", b"16", b"18", b"19", b"20", b"21"]
            .contains(&parameters.split(|byte| *byte == b';').next().unwrap_or_default()),
        b'h' | b'l' => parameters == b"?2004",
        _ => false,
    }
}

impl Mark {
    /// Reads a mark from after its nonce.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('\x1f');
        let mut fields = parts.next()?.split(';');
        let shell = fields.next()?.to_owned();
        let kind = fields.next()?;
        let seq = fields.next()?.parse().ok()?;
        if kind == "C" {
            return Some(Self { shell, seq, end: None });
        }
        if kind != "D" {
            return None;
        }
        let mut next = || fields.next().unwrap_or_default();
        let exit_code = next().parse().ok()?;
        let background = next().parse().ok().filter(|pid| *pid > 0);
        let (user, host) = (next().to_owned(), next().to_owned());
        let folder = parts.next().filter(|folder| !folder.is_empty()).map(str::to_owned);
        let python = parts.next().unwrap_or_default().trim().to_owned();
        Some(Self { shell, seq, end: Some(End { exit_code, background, user, host, folder, python }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "a\r\n\x1b]7717;n;42;C;3\x07ä\x1b[31mred\x1b[0m\x1b[6n\x1b[?2004h\x1b[c\x1b[>c\x1b]11;?\x1b\\\
        \x1bP$qm\x1b\\\x1b[?1$p\x1b]0;title\x07\x1b(B→\x1b]7717;n;42;D;3;130;77;me;box\x1f/a;b\x1f/usr/bin/python\r\n\x07\
        end\x1b]7717;other;42;D;3;0\x07\x1b]7717;n;$$;D;${seq};$?\x07.";

    fn pieces(parser: &mut Parser, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        parser.feed(bytes, &mut |piece| match (pieces.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => pieces.push(piece),
        });
        pieces
    }

    fn joined(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    fn text(bytes: &[u8]) -> String {
        match &joined(pieces(&mut Parser::new("n"), bytes))[..] {
            [] => String::new(),
            [Piece::Text(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_is_taken_apart_in_pieces_of_any_size() {
        let mark = |end| Piece::Mark(Mark { shell: "42".into(), seq: 3, end });
        let expected = [
            Piece::Text("a\n".into()),
            mark(None),
            Piece::Text("ä\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b(B→".into()),
            mark(Some(End {
                exit_code: 130,
                background: Some(77),
                user: "me".into(),
                host: "box".into(),
                folder: Some("/a;b".into()),
                python: "/usr/bin/python".into(),
            })),
            Piece::Text("end.".into()),
        ];
        for size in [1, 2, 3, 7, STREAM.len()] {
            let mut parser = Parser::new("n");
            let parts: Vec<_> = STREAM.as_bytes().chunks(size).flat_map(|part| pieces(&mut parser, part)).collect();
            assert_eq!(joined(parts), expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn a_mark_is_found_after_anything() {
        let mark = b"\x1b]7717;n;1;D;9;0\x07";
        for before in
            [&b""[..], b"\x1b", b"\x1b[", b"\x1b[12", b"\x1b]0;open", b"\x1bPopen", b"\x1b]0;x\x1b", b"\xe2\x82"]
        {
            let mut parser = Parser::new("n");
            let found = pieces(&mut parser, &[before, mark].concat());
            assert!(matches!(found.last(), Some(Piece::Mark(mark)) if mark.seq == 9), "{before:?}: {found:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters() {
        assert_eq!(text(b"a\xffb\0c\xe2\x82\xac"), "a\u{fffd}bc€");
        assert_eq!(
            joined(pieces(&mut Parser::new("n"), b"\xe2\x82\x1b]7717;x\x07\xac")),
            [Piece::Text("\u{fffd}\u{fffd}".into())]
        );
    }

    #[test]
    fn a_sequence_without_end_is_text() {
        let long = [b"\x1b]0;", &vec![b'x'; MAX_SEQUENCE][..], b"after"].concat();
        assert!(text(&long).ends_with("xafter"));
        let mut parser = Parser::new("n");
        pieces(&mut parser, &[b"\x1b[", &vec![b'1'; 10 * MAX_SEQUENCE][..]].concat());
        assert!(parser.sequence.len() <= MAX_SEQUENCE && parser.text.is_empty());
    }

    #[test]
    fn the_text_of_a_mark_without_its_control_characters_is_text() {
        let shown = r"PS1='\e]7717;n;$$;D;3;0\a' ^[]7717;n;1;D;3;0^G";
        assert_eq!(text(shown.as_bytes()), shown);
    }
}
