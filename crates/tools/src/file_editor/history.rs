//! What files were before they were edited.

use std::{collections::VecDeque, path::Path, path::PathBuf};

/// How many edits of a file can be taken back.
const MAX_PER_FILE: usize = 10;

/// What all kept contents may take together; the oldest go first.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Earlier contents of files, as bytes, so that taking an edit back restores exactly what was there.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<(PathBuf, Vec<u8>)>,
    bytes: usize,
}

impl History {
    /// Remembers what `path` was before an edit.
    pub(super) fn push(&mut self, path: &Path, content: Vec<u8>) {
        if self.entries.iter().filter(|(of, _)| of == path).count() >= MAX_PER_FILE
            && let Some(oldest) = self.entries.iter().position(|(of, _)| of == path)
        {
            self.remove(oldest);
        }
        self.bytes += content.len();
        self.entries.push_back((path.to_owned(), content));
        while self.bytes > MAX_BYTES {
            self.remove(0);
        }
    }

    /// What `path` was before its last edit that was not taken back.
    pub(super) fn last(&self, path: &Path) -> Option<Vec<u8>> {
        self.entries.iter().rev().find(|(of, _)| of == path).map(|(_, content)| content.clone())
    }

    /// Forgets what [`History::last`] gave.
    pub(super) fn pop(&mut self, path: &Path) {
        if let Some(last) = self.entries.iter().rposition(|(of, _)| of == path) {
            self.remove(last);
        }
    }

    fn remove(&mut self, index: usize) {
        self.bytes -= self.entries.remove(index).map_or(0, |(_, content)| content.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_edits_per_file_and_a_bounded_total_are_kept() {
        let mut history = History::default();
        let (one, two) = (Path::new("/1"), Path::new("/2"));
        history.push(two, b"two".to_vec());
        for edit in 0..12 {
            history.push(one, vec![edit]);
        }
        let mut kept = Vec::new();
        while let Some(content) = history.last(one) {
            history.pop(one);
            kept.extend(content);
        }
        assert_eq!(kept, (2..12).rev().collect::<Vec<_>>());
        assert_eq!(history.last(two).as_deref(), Some(&b"two"[..]));
        history.push(one, vec![0; MAX_BYTES]);
        assert_eq!((history.last(two), history.bytes), (None, MAX_BYTES));
    }
}
