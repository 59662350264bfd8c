//! Who did what: a log that only grows, in which every record carries the hash of the one before.

use std::fmt;

use async_trait::async_trait;
use longshore_protocol::UtcTime;
use serde_json::{Map, Value};

use crate::{Error, Seq};

/// Bytes that a text of a record may have; what is longer is cut.
pub const MAX_AUDIT_TEXT: usize = 256;

/// Bytes that the details of a record may have as JSON; longer ones are replaced by a note that says so.
pub const MAX_AUDIT_DETAILS: usize = 4096;

/// The action of a record that stands for older ones, which were removed.
pub(crate) const CHECKPOINT: &str = "audit.checkpoint";

/// The action of a record that says that the log did not end where it should when it was opened.
pub(crate) const GAP: &str = "audit.gap";

/// An append-only log of who did what. Positions begin at 1 and have no gaps.
///
/// A record's hash is the SHA-256 of its canonical form: the text `longshore.audit.1`, then `seq`, `at` in microseconds since
/// 1970, `actor`, `key`, `address`, `request`, `action`, `target_kind`, `target`, `owner`, `status`, `details` as they are stored,
/// `removed` and the hash of the record before (32 bytes of 0 for the first one). Each is written as its kind (`i` for a number
/// in decimal digits, `t` for text in UTF-8, `b` for bytes), its length in bytes in decimal digits, a colon, the bytes and a
/// comma, as in `t4:anna,`; what is not there is `~`.
///
/// The end of the log, its position and hash, is also in a file beside the database, signed with the secret key. It is
/// written after the records are on disk, so it may lag behind, and is never ahead.
#[async_trait]
pub trait Audit: fmt::Debug + Send + Sync {
    /// Appends records in this order, all or none, and returns the end of the log.
    ///
    /// # Errors
    /// [`Error`].
    async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<AuditHead, Error>;

    /// The end of the log.
    ///
    /// # Errors
    /// [`Error`].
    async fn audit_head(&self) -> Result<AuditHead, Error>;

    /// Up to `query.limit` records that match.
    ///
    /// # Errors
    /// [`Error::Damaged`] if one cannot be read.
    async fn find_audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, Error>;

    /// Reads the log from position `from` (1: all of it) and finds the first record that does not fit. Takes as long as reading
    /// all of it does; tells `progress` now and then.
    ///
    /// # Errors
    /// [`Error`] if the log cannot be read at all.
    async fn verify_audit(&self, from: Seq, progress: &AuditProgress) -> Result<AuditVerdict, Error>;

    /// Removes records from before a time, some thousands at most, and returns how many: call it again until it is none. What
    /// was removed is said by a record of its own, with the hash from which the log goes on.
    ///
    /// # Errors
    /// [`Error`].
    async fn prune_audit(&self, before: UtcTime, now: UtcTime) -> Result<u64, Error>;
}

/// Is told how far a verification is: the position that was reached, and the last one.
pub type AuditProgress = dyn Fn(Seq, Seq) + Send + Sync;

/// Something that somebody did. No field may hold a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// When it was done.
    pub at: UtcTime,
    /// The user who did it; none if nobody knows.
    pub actor: Option<String>,
    /// The id of the key that was shown.
    pub key: Option<String>,
    /// The network address it came from.
    pub address: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
    /// What was done: `conversation.create`.
    pub action: String,
    /// What kind of thing it was done to: `conversation`.
    pub target_kind: Option<String>,
    /// Which one.
    pub target: Option<String>,
    /// The user whose thing that is.
    pub owner: Option<String>,
    /// How it ended, as an HTTP status.
    pub status: Option<u16>,
    /// What else is to be known.
    pub details: Map<String, Value>,
}

impl AuditEntry {
    /// An action that nobody in particular did.
    pub fn new(at: UtcTime, action: impl Into<String>) -> Self {
        Self {
            at,
            actor: None,
            key: None,
            address: None,
            request: None,
            action: action.into(),
            target_kind: None,
            target: None,
            owner: None,
            status: None,
            details: Map::new(),
        }
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its position: 1 for the first.
    pub seq: Seq,
    /// What was done.
    pub entry: AuditEntry,
    /// The hash of the record before.
    pub previous: AuditHash,
    /// Its hash.
    pub hash: AuditHash,
}

/// A SHA-256; shown in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditHash(pub [u8; 32]);

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl AuditHash {
    /// The hash of 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut hash = Self::default();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in hash.0.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(hash)
    }
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditHead {
    /// The position of the last record; 0 if there is none.
    pub seq: Seq,
    /// Its hash.
    pub hash: AuditHash,
}

/// Which records to find.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only what this user did.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only what was done to the thing with this id.
    pub target: Option<String>,
    /// Not before this time.
    pub since: Option<UtcTime>,
    /// Before this time.
    pub before: Option<UtcTime>,
    /// Oldest first and from this position on; else newest first.
    pub from: Option<Seq>,
    /// Newest first and below this position.
    pub below: Option<Seq>,
    /// At most so many.
    pub limit: usize,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// The records that were read and fit.
    pub count: u64,
    /// The last of them.
    pub last: AuditHead,
    /// What does not fit.
    pub problem: Option<AuditProblem>,
    /// Whether the signature of the end of the log could be checked: not without the secret key.
    pub is_signed: bool,
}

/// The first thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProblem {
    /// The record; if it is missing, where it should be.
    pub seq: Seq,
    /// How that shows.
    pub cause: String,
}

impl fmt::Display for AuditProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.seq, self.cause)
    }
}
