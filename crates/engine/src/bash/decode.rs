//! Text from bytes that arrive in pieces.

/// Decodes UTF-8 that may be cut anywhere. What is no UTF-8 becomes `U+FFFD`.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a character whose rest has not arrived: at most three bytes.
    pending: Vec<u8>,
}

impl Decoder {
    /// Appends to `text` what `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        if self.pending.is_empty() {
            self.decode(bytes, text);
        } else {
            let mut joined = std::mem::take(&mut self.pending);
            joined.extend_from_slice(bytes);
            self.decode(&joined, text);
        }
    }

    /// Appends to `text` what is left of a character that never came.
    pub(super) fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn decode(&mut self, mut bytes: &[u8], text: &mut String) {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(valid) => return text.push_str(valid),
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(wrong) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    bytes = &rest[wrong..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Decoder;

    fn decode(bytes: &[u8], piece: usize) -> String {
        let mut decoder = Decoder::default();
        let mut text = String::new();
        for piece in bytes.chunks(piece) {
            decoder.push(piece, &mut text);
        }
        decoder.finish(&mut text);
        text
    }

    #[test]
    fn text_does_not_depend_on_where_it_was_cut() {
        for bytes in ["añ€😀z".as_bytes(), b"\xff\xfe bin", b"a\xe2\x82", b"\xf0\x9f\x98x", b"\xe2\x28\xa1", b""] {
            for piece in 1..=bytes.len().max(1) {
                assert_eq!(decode(bytes, piece), String::from_utf8_lossy(bytes), "{bytes:?} in pieces of {piece}");
            }
        }
    }
}
