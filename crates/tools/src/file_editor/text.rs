//! Text as it is in a file: its encoding and its line ends are kept.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The content of a text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// The text, without a byte order mark, line ends as they are.
    pub(super) text: String,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    encoding: &'static Encoding,
    has_mark: bool,
    /// Whether writing the text again would give the same bytes.
    is_faithful: bool,
}

/// A text as bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// The encoding that could not say all of it, so that UTF-8 was taken.
    pub(super) given_up: Option<&'static str>,
}

impl Text {
    /// Reads bytes as text.
    ///
    /// # Errors
    /// A sentence on why they are none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let marked = Encoding::for_bom(bytes);
        let (encoding, skip) = marked.unwrap_or((UTF_8, 0));
        if marked.is_none_or(|(encoding, _)| encoding == UTF_8) && bytes.contains(&0) {
            return Err("it is a binary file".to_owned());
        }
        let body = &bytes[skip..];
        if encoding == UTF_8
            && let Ok(text) = std::str::from_utf8(body)
        {
            let format = Format { encoding, has_mark: marked.is_some(), is_faithful: true };
            return Ok(Self { text: text.to_owned(), format });
        }
        let encoding = if marked.is_some() { encoding } else { guess(body)? };
        let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(body) else {
            return Err(format!("it is neither UTF-8 nor {}: it looks like a binary file", encoding.name()));
        };
        let mut format = Format { encoding, has_mark: marked.is_some(), is_faithful: true };
        format.is_faithful = format.encode(&text).bytes == bytes;
        Ok(Self { text: text.into_owned(), format })
    }

    /// Whether only the edited part of the file would change.
    pub(super) fn is_faithful(&self) -> bool {
        self.format.is_faithful
    }

    /// The name of the encoding.
    pub(super) fn encoding(&self) -> &'static str {
        self.format.encoding.name()
    }

    /// `text` as bytes of a file like this one.
    pub(super) fn encode(&self, text: &str) -> Encoded {
        self.format.encode(text)
    }

    /// The line end that most lines have.
    pub(super) fn line_end(&self) -> &'static str {
        let lines = self.text.matches('\n').count();
        if self.text.matches("\r\n").count() * 2 > lines { "\r\n" } else { "\n" }
    }
}

impl Format {
    fn encode(self, text: &str) -> Encoded {
        let Self { encoding, has_mark, .. } = self;
        let mark: &[u8] = match encoding {
            _ if !has_mark => b"",
            it if it == UTF_16LE => b"\xff\xfe",
            it if it == UTF_16BE => b"\xfe\xff",
            _ => b"\xef\xbb\xbf",
        };
        let mut bytes = mark.to_vec();
        if encoding == UTF_16LE {
            bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        } else if encoding == UTF_16BE {
            bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        } else {
            match encoding.encode(text) {
                (encoded, _, false) => bytes.extend_from_slice(&encoded),
                (_, _, true) => return Encoded { bytes: text.as_bytes().to_vec(), given_up: Some(encoding.name()) },
            }
        }
        Encoded { bytes, given_up: None }
    }
}

/// The likely encoding of bytes that are not UTF-8.
fn guess(bytes: &[u8]) -> Result<&'static Encoding, String> {
    let controls = bytes.iter().filter(|byte| is_control(**byte)).count();
    if controls * 100 > bytes.len() {
        return Err("it is a binary file".to_owned());
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    Ok(detector.guess(None, Utf8Detection::Deny))
}

/// A byte that text in no encoding has, except for line ends, tabs, form feeds and escape sequences.
fn is_control(byte: u8) -> bool {
    byte == 0x7f || byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_in_the_encoding_that_it_was_read_in() {
        let russian = "Привет, мир! Это обычный русский текст, в котором достаточно букв для догадки.\n";
        for (bytes, text, name) in [
            ("aä\r\n".as_bytes().to_vec(), "aä\r\n", "UTF-8"),
            (b"\xef\xbb\xbfa\n".to_vec(), "a\n", "UTF-8"),
            (b"\xff\xfea\0\xe4\0".to_vec(), "aä", "UTF-16LE"),
            (b"\xfe\xff\0a\0\xe4".to_vec(), "aä", "UTF-16BE"),
            (b"caf\xe9 d\xe9j\xe0 vu\n".to_vec(), "café déjà vu\n", "windows-1252"),
            (encoding_rs::WINDOWS_1251.encode(russian).0.into_owned(), russian, "windows-1251"),
            (Vec::new(), "", "UTF-8"),
        ] {
            let read = Text::decode(&bytes).unwrap();
            assert_eq!((read.text.as_str(), read.encoding(), read.is_faithful()), (text, name, true));
            assert_eq!(read.encode(text), Encoded { bytes, given_up: None });
        }
    }

    #[test]
    fn a_character_that_the_encoding_lacks_makes_the_file_utf_8() {
        let read = Text::decode(b"caf\xe9 d\xe9j\xe0 vu\n").unwrap();
        assert_eq!(read.encode("→"), Encoded { bytes: "→".into(), given_up: Some("windows-1252") });
    }

    #[test]
    fn binary_files_are_no_text() {
        for bytes in [&b"\x7fELF\x02\x01\x01\0\0"[..], b"\x1f\x8b\x08\x08\x01\x02\x03\x04\x05\xff", b"\xff\xfe\0\xd8"] {
            assert!(Text::decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_line_end_is_that_of_most_lines() {
        for (text, end) in [("a\r\nb\r\nc\n", "\r\n"), ("a\nb\n", "\n"), ("", "\n")] {
            assert_eq!(Text::decode(text.as_bytes()).unwrap().line_end(), end);
        }
    }
}
