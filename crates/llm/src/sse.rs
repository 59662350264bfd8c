//! Reads server-sent events as they come, in pieces of any size.

/// The most bytes of one event.
const EVENT_LIMIT: usize = 16 * 1024 * 1024;

/// A line or an event is longer than the decoder keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Collects bytes into the data of events. Names, ids and retry times are not kept: no model API needs them.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The latest byte was a carriage return: a line feed now is the rest of the same line end.
    after_return: bool,
    /// Bytes seen of a byte order mark, which only the start of a stream may have.
    started: bool,
    limit: Option<usize>,
}

impl Decoder {
    #[cfg(test)]
    fn with_limit(limit: usize) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }

    /// Takes the next bytes and gives the data of each event that is complete now to `event`.
    ///
    /// # Errors
    /// [`TooLong`]; the decoder is of no use then.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Vec<u8>)) -> Result<(), TooLong> {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let is_rest_of_line_end = self.after_return && end == 0 && bytes[0] == b'\n';
            self.after_return = bytes[end] == b'\r';
            if !is_rest_of_line_end {
                self.extend(&bytes[..end])?;
                if let Some(data) = self.end_line()? {
                    event(data);
                }
            }
            bytes = &bytes[end + 1..];
        }
        if !bytes.is_empty() {
            self.after_return = false;
            self.extend(bytes)?;
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(EVENT_LIMIT)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + bytes.len() > self.limit() {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Handles a whole line; an empty one ends an event.
    fn end_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let mut line = self.line.as_slice();
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            self.line.clear();
            let has_data = std::mem::take(&mut self.has_data);
            return Ok(has_data.then(|| std::mem::take(&mut self.data)));
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        if field == b"data" {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(value);
            // Each `data` line without a value still adds a line break.
            if self.data.len() > self.limit() {
                return Err(TooLong);
            }
        }
        self.line.clear();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(piece, |data| events.push(String::from_utf8(data).unwrap())).unwrap();
        }
        events
    }

    #[test]
    fn every_cut_of_the_bytes_gives_the_same_events() {
        let stream = "\u{feff}data: one\n\n: a comment\r\ndata:two\r\ndata: zwei ü\r\n\r\nevent: x\nid: 3\ndata\n\n\n\rdata: {\"a\": \"b:c\"}\r\rdata: cut off";
        let expected = ["one", "two\nzwei ü", "", "{\"a\": \"b:c\"}"];
        let bytes = stream.as_bytes();
        assert_eq!(decode(&[bytes]), expected);
        assert_eq!(decode(&bytes.chunks(1).collect::<Vec<_>>()), expected);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn other_fields_and_comments_make_no_event() {
        assert_eq!(decode(&[b": ping\n\nevent: end\n\nretry: 10\n\ndatax: 1\n\n"]), Vec::<String>::new());
    }

    #[test]
    fn only_one_space_belongs_to_the_field() {
        assert_eq!(decode(&[b"data:  two\n\n"]), [" two"]);
    }

    #[test]
    fn an_event_has_a_limit() {
        let mut decoder = Decoder::with_limit(10);
        assert_eq!(decoder.feed(b"data: 1234\n\n", |_| {}), Ok(()));
        assert_eq!(decoder.feed(b"data: 12345", |_| {}), Err(TooLong));
        let mut lines = Decoder::with_limit(10);
        assert_eq!(lines.feed(b"data:1\ndata:2\ndata:3\ndata:4\ndata:5\ndata:6\n", |_| {}), Err(TooLong));
        let mut empty_lines = Decoder::with_limit(10);
        assert_eq!(empty_lines.feed(&b"data\n".repeat(20), |_| {}), Err(TooLong));
    }
}
