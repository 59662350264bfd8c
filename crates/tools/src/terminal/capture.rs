//! The output of a command, however much it is.
//!
//! The beginning and the end stay in memory. What is longer than a model gets to read is saved in a file, up to a limit,
//! and the model is told where.

use std::{
    fmt::Write as _,
    ops::Range,
    path::{Path, PathBuf},
};

use longshore_workspace::{FileWriter, Parents, Workspace};
use sha2::{Digest as _, Sha256};

use crate::truncate;

/// What a model gets to read, in characters.
const MAX_CHARACTERS: usize = 30_000;

/// What it gets to read of output that was cut: the lines about the command's end still fit in the limit.
const CUT_CHARACTERS: usize = 29_000;

/// What is kept in memory of the beginning, and at least of the end, in bytes.
const KEPT: usize = 1024 * 1024;

/// What is saved, in bytes; the end of longer output is added to it.
const MAX_SAVED: u64 = 64 * 1024 * 1024;

/// Where files are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Store<'a> {
    pub(super) workspace: &'a dyn Workspace,
    /// What a conversation leaves behind.
    pub(super) folder: &'a Path,
}

impl Store<'_> {
    /// Where output is saved.
    pub(super) fn outputs(&self) -> PathBuf {
        self.folder.join("observations")
    }
}

/// Output that is being collected.
#[derive(Default)]
pub(super) struct Capture {
    head: String,
    tail: String,
    /// Text that is not in the head and was not given to the file.
    unsaved: String,
    characters: usize,
    spool: Spool,
}

/// The file that gets the output when the head is full.
#[derive(Default)]
enum Spool {
    #[default]
    None,
    Open(Box<File>),
    Failed(String),
}

struct File {
    writer: Box<dyn FileWriter>,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
    left_out: u64,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("characters", &self.characters).finish_non_exhaustive()
    }
}

impl Capture {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.characters == 0
    }

    /// Whether there is so much that not all of it is kept.
    pub(super) fn is_overflowing(&self) -> bool {
        matches!(&self.spool, Spool::Open(file) if file.left_out > 0) || matches!(self.spool, Spool::Failed(_))
    }

    /// Adds output.
    pub(super) fn push(&mut self, text: &str) {
        self.characters += text.chars().count();
        let room = if self.tail.is_empty() { text.floor_char_boundary(KEPT - self.head.len()) } else { 0 };
        let (head, rest) = text.split_at(room);
        self.head.push_str(head);
        if rest.is_empty() {
            return;
        }
        self.tail.push_str(rest);
        self.unsaved.push_str(rest);
        if self.tail.len() > 2 * KEPT {
            let cut = self.tail.ceil_char_boundary(self.tail.len() - KEPT);
            self.tail.drain(..cut);
        }
    }

    /// Takes out the last `text`, unless the output is so much that nobody will see it.
    pub(super) fn remove_last(&mut self, text: &str) {
        if let Some(start) = self.head.rfind(text) {
            self.remove(start..start + text.len());
        }
    }

    /// Takes out the last line that contains `text`.
    pub(super) fn remove_line(&mut self, text: &str) {
        if let Some(place) = self.head.rfind(text) {
            let start = self.head[..place].rfind('\n').map_or(0, |end| end + 1);
            let end = self.head[place..].find('\n').map_or(self.head.len(), |end| place + end + 1);
            self.remove(start..end);
        }
    }

    /// Takes `text` off the start.
    pub(super) fn remove_start(&mut self, text: &str) {
        if self.head.starts_with(text) {
            self.remove(0..text.len());
        }
    }

    fn remove(&mut self, range: Range<usize>) {
        // A head that was full goes on in the tail: a gap before it would be filled by later output.
        if self.tail.is_empty() {
            self.characters -= self.head[range.clone()].chars().count();
            self.head.replace_range(range, "");
        }
    }

    /// Adds what came after.
    pub(super) fn append(&mut self, later: &Self) {
        self.push(&later.head);
        self.push(&later.tail);
    }

    /// Saves what is too much for the memory. To be called after every few additions.
    pub(super) async fn spill(&mut self, store: Store<'_>) {
        if self.unsaved.is_empty() {
            return;
        }
        if matches!(self.spool, Spool::None) {
            self.spool = match File::open(store, &self.head).await {
                Ok(file) => Spool::Open(Box::new(file)),
                Err(error) => Spool::Failed(error),
            };
        }
        if let Spool::Open(file) = &mut self.spool
            && let Err(error) = file.write(&self.unsaved).await
        {
            self.spool = Spool::Failed(error);
        }
        self.unsaved.clear();
    }

    /// The output for the model, without the white space at its end. Saves all of it if it is cut.
    pub(super) async fn finish(mut self, store: Store<'_>) -> String {
        if self.characters <= MAX_CHARACTERS {
            let mut text = self.head + &self.tail;
            text.truncate(text.trim_end().len());
            return text;
        }
        self.spill(store).await;
        let saved = match std::mem::take(&mut self.spool) {
            Spool::Failed(error) => Err(error),
            Spool::Open(file) => file.finish(store, &self.tail).await,
            Spool::None => match File::open(store, &self.head).await {
                Ok(file) => Box::new(file).finish(store, "").await,
                Err(error) => Err(error),
            },
        };
        self.cut(&saved)
    }

    fn cut(&self, saved: &Result<(PathBuf, u64), String>) -> String {
        let mut notice = format!("\n[The middle of {} characters is left out here. ", self.characters);
        // Writing to a string cannot fail.
        let _ = match saved {
            Ok((path, 0)) => writeln!(notice, "The full output is in {}]", path.display()),
            Ok((path, left_out)) => {
                writeln!(notice, "The output without {left_out} bytes of its middle is in {}]", path.display())
            }
            Err(error) => writeln!(notice, "The full output could not be saved: {error}]"),
        };
        let room = CUT_CHARACTERS.saturating_sub(notice.chars().count());
        let end = self.tail.trim_end();
        let last = truncate::last(end, room / 2);
        // A short tail follows the head without a gap.
        let missing = room / 2 - last.chars().count();
        let before = if missing == 0 { "" } else { truncate::last(&self.head, missing) };
        let text = [truncate::first(&self.head, room - room / 2), &notice, before, last].concat();
        text.trim_end().to_owned()
    }
}

impl File {
    async fn open(store: Store<'_>, head: &str) -> Result<Self, String> {
        let path = store.outputs().join(format!(".terminal_output_{}.part", uuid::Uuid::new_v4().simple()));
        let writer = store.workspace.write(&path, Parents::Created).await.map_err(|error| error.to_string())?;
        let mut file = Self { writer, path, hash: Sha256::new(), bytes: 0, left_out: 0 };
        file.write(head).await?;
        Ok(file)
    }

    async fn write(&mut self, text: &str) -> Result<(), String> {
        if self.left_out > 0 || self.bytes + text.len() as u64 > MAX_SAVED {
            self.left_out += text.len() as u64;
            return Ok(());
        }
        self.put(text).await
    }

    async fn put(&mut self, text: &str) -> Result<(), String> {
        self.bytes += text.len() as u64;
        self.hash.update(text);
        self.writer.write(text.as_bytes()).await.map_err(|error| error.to_string())
    }

    /// Puts the file in its place, with the end of the output in any case; says how many bytes it lacks.
    async fn finish(mut self: Box<Self>, store: Store<'_>, tail: &str) -> Result<(PathBuf, u64), String> {
        let left_out = self.left_out.saturating_sub(tail.len() as u64);
        if self.left_out > 0 {
            let start = tail
                .ceil_char_boundary(tail.len().saturating_sub(usize::try_from(self.left_out).unwrap_or(usize::MAX)));
            self.put(&format!("\n[{left_out} bytes are left out here]\n")).await?;
            self.put(&tail[start..]).await?;
        }
        let digest: [u8; 32] = self.hash.finalize().into();
        let [a, b, c, d, ..] = digest;
        let path = store.outputs().join(format!("terminal_output_{:08x}.txt", u32::from_be_bytes([a, b, c, d])));
        self.writer.finish().await.map_err(|error| error.to_string())?;
        store.workspace.rename(&self.path, &path).await.map_err(|error| error.to_string())?;
        Ok((path, left_out))
    }
}
