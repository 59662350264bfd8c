//! The end of the audit log in a place of its own, so that it is noticed if records at the end are taken away.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{AuditHash, AuditHead, Error, Keys, Seq};

const NAME: &str = "audit.head";
const FORM: &str = "longshore-audit-head 1";
const PURPOSE: &str = "audit.head";
const MAX_SIZE: u64 = 4096;

/// The file beside the database. Whoever writes it has the key; who only reads may not.
#[derive(Debug)]
pub(super) struct HeadFile {
    path: PathBuf,
    keys: Option<Keys>,
    written: Mutex<Seq>,
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no file.
    Missing,
    /// There is one that nobody with the key wrote.
    Forged,
    /// The log was this long; `is_signed` says whether the signature was checked.
    Head { head: AuditHead, is_signed: bool },
}

impl HeadFile {
    pub(super) fn new(directory: &Path, keys: Option<Keys>) -> Self {
        Self { path: directory.join(NAME), keys, written: Mutex::new(0) }
    }

    pub(super) fn read(&self) -> Result<Found, Error> {
        let mut text = String::new();
        let read = fs::File::open(&self.path).and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(Found::Forged),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        }
        Ok(self.parse(&text).unwrap_or(Found::Forged))
    }

    /// Writes the end of the log unless a later one is written already. Blocks until it is on disk.
    pub(super) fn write(&self, head: AuditHead) -> Result<(), Error> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if head.seq < *written {
            return Ok(());
        }
        let body = body(head);
        let text = format!("{body}mac {}\n", keys.sign(PURPOSE, body.as_bytes()));
        // Another process may add to the same log: one that changes users beside a server.
        let draft = self.path.with_extension(format!("head.{}", std::process::id()));
        replace(&self.path, &draft, text.as_bytes()).map_err(Error::io("write", &self.path))?;
        *written = head.seq;
        Ok(())
    }

    fn parse(&self, text: &str) -> Option<Found> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let form = value("longshore-audit-head")?;
        let (seq, hash, mac) = (value("seq")?, value("hash")?, value("mac")?);
        let head = AuditHead { seq: seq.parse().ok()?, hash: AuditHash::parse(&hash)? };
        let mac = AuditHash::parse(&mac)?;
        let body = body(head);
        let is_ours =
            form == "1" && self.keys.as_ref().is_none_or(|keys| keys.is_signed(PURPOSE, body.as_bytes(), &mac));
        is_ours.then_some(Found::Head { head, is_signed: self.keys.is_some() })
    }
}

fn body(head: AuditHead) -> String {
    format!("{FORM}\nseq {}\nhash {}\n", head.seq, head.hash)
}

/// Complete or not at all.
fn replace(path: &Path, draft: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(draft, path)
}
