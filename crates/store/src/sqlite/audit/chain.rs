//! Records of the audit log as columns have them, and their hashes.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Row, types::ValueRef};

use super::super::failure::Failure;
use crate::{AuditEntry, AuditHash, AuditHead, Error, Seq, audit};

/// Columns in the order of the canonical form; the record's own hash follows them.
pub(super) const COLUMNS: &str = "seq, at, actor, key, address, request, action, target_kind, target, owner, status, details, \
    removed, previous, hash";

/// Columns of the canonical form.
const HASHED: usize = 14;

/// The form that is described at [`crate::Audit`].
const FORM: &[u8] = b"longshore.audit.1";

/// What a record holds besides its place in the chain, as columns have it: texts are cut to what a record may have.
pub(super) struct EntryRow {
    entry: AuditEntry,
    details: String,
    removed: Option<i64>,
}

impl EntryRow {
    pub(super) fn encode(entry: AuditEntry) -> Self {
        let mut entry = entry;
        let texts = [
            &mut entry.actor,
            &mut entry.key,
            &mut entry.address,
            &mut entry.request,
            &mut entry.target_kind,
            &mut entry.target,
            &mut entry.owner,
        ];
        for text in texts.into_iter().flatten().chain([&mut entry.action]) {
            text.truncate(text.floor_char_boundary(audit::MAX_AUDIT_TEXT));
        }
        let details = serde_json::Value::Object(std::mem::take(&mut entry.details)).to_string();
        let details = if details.len() > audit::MAX_AUDIT_DETAILS {
            format!(r#"{{"left_out":"{} bytes of details"}}"#, details.len())
        } else {
            details
        };
        Self { entry, details, removed: None }
    }

    /// A record that stands for those up to `removed`.
    pub(super) fn checkpoint(entry: AuditEntry, removed: i64) -> Self {
        Self { removed: Some(removed), ..Self::encode(entry) }
    }

    /// The columns of the canonical form.
    pub(super) fn columns<'a>(&'a self, seq: i64, at: i64, previous: &'a AuditHash) -> [ValueRef<'a>; HASHED] {
        let text = |text: &'a Option<String>| text.as_ref().map_or(ValueRef::Null, |it| ValueRef::Text(it.as_bytes()));
        let number = |number: Option<i64>| number.map_or(ValueRef::Null, ValueRef::Integer);
        let entry = &self.entry;
        [
            ValueRef::Integer(seq),
            ValueRef::Integer(at),
            text(&entry.actor),
            text(&entry.key),
            text(&entry.address),
            text(&entry.request),
            ValueRef::Text(entry.action.as_bytes()),
            text(&entry.target_kind),
            text(&entry.target),
            text(&entry.owner),
            number(entry.status.map(i64::from)),
            ValueRef::Text(self.details.as_bytes()),
            number(self.removed),
            ValueRef::Blob(&previous.0),
        ]
    }

    pub(super) fn at(&self) -> i64 {
        super::super::codec::micros(self.entry.at)
    }
}

/// A stored record's place in the chain, whatever its columns hold.
pub(super) struct Link {
    pub(super) seq: i64,
    pub(super) previous: AuditHash,
    /// The hash that it carries.
    pub(super) hash: AuditHash,
    /// The hash that it should carry.
    pub(super) computed: AuditHash,
    /// Whether it says that the log did not end where it should.
    pub(super) is_gap: bool,
}

impl Link {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> Result<Self, Failure> {
        const ACTION: usize = 6;
        let mut columns = [ValueRef::Null; HASHED];
        for (index, column) in columns.iter_mut().enumerate() {
            *column = row.get_ref(index)?;
        }
        Ok(Self {
            seq: row.get(0)?,
            previous: AuditHash(row.get(HASHED - 1)?),
            hash: AuditHash(row.get(HASHED)?),
            computed: hash(&columns),
            is_gap: columns[ACTION] == ValueRef::Text(audit::GAP.as_bytes()),
        })
    }

    pub(super) fn head(&self) -> AuditHead {
        AuditHead { seq: Seq::try_from(self.seq).unwrap_or(0), hash: self.hash }
    }
}

/// The hash of a record.
pub(super) fn hash(columns: &[ValueRef<'_>; HASHED]) -> AuditHash {
    let mut context = Context::new(&SHA256);
    context.update(FORM);
    for column in columns {
        match column {
            ValueRef::Null => context.update(b"~"),
            ValueRef::Integer(number) => update(&mut context, b'i', number.to_string().as_bytes()),
            ValueRef::Real(number) => update(&mut context, b'r', &number.to_bits().to_be_bytes()),
            ValueRef::Text(bytes) => update(&mut context, b't', bytes),
            ValueRef::Blob(bytes) => update(&mut context, b'b', bytes),
        }
    }
    let mut hash = AuditHash::default();
    hash.0.copy_from_slice(context.finish().as_ref());
    hash
}

fn update(context: &mut Context, kind: u8, bytes: &[u8]) {
    context.update(&[kind]);
    context.update(bytes.len().to_string().as_bytes());
    context.update(b":");
    context.update(bytes);
    context.update(b",");
}

/// A position as the column has it.
pub(super) fn position(seq: i64) -> Result<Seq, Failure> {
    Seq::try_from(seq)
        .map_err(|_| Error::damaged(format_args!("record {seq} of the audit log"), "no such position").into())
}
