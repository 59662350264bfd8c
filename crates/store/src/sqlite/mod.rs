//! The store in one SQLite file.
//!
//! One thread writes: it takes everything that waits, does it in one transaction and answers after the commit, so many
//! writers share one flush to disk. A few connections read beside it.

mod accounts;
mod audit;
mod bash;
mod codec;
mod commit;
mod conversation;
mod event;
mod failure;
mod files;
mod migrate;
mod pulse;
mod query;
mod reader;
mod reseal;
mod sandbox;
mod setting;
mod usage;
mod vital;
mod workspace;
mod writer;

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
pub use audit::AuditLog;
use indexmap::IndexMap;
use longshore_protocol::{
    ConversationId, UtcTime,
    agent::SecretSource,
    bash::{BashCommand, BashEvent},
    conversation::ExecutionStatus,
    metrics::Call,
    sandbox::SandboxEvent,
};
use serde_json::Value;
use uuid::Uuid;

use self::{
    codec::Codec,
    files::{Files, Lock},
    pulse::Pulse,
    reader::Readers,
    writer::Writer,
};
use crate::{
    At, Audit, AuditEntry, AuditHead, AuditProgress, AuditQuery, AuditRecord, AuditVerdict, BashQuery, Commit,
    Conversation, ConversationHead, ConversationQuery, Created, Error, EventFilter, EventQuery, Keys, NewConversation,
    Owner, Page, Sandbox, SandboxChange, Seq, Store, StoredEvent,
};

/// The store in one SQLite file.
pub struct Sqlite {
    audit: AuditLog,
    codec: Codec,
    files: Arc<Files>,
    readers: Arc<Readers>,
    writer: Writer,
    pulse: Arc<Pulse>,
}

impl Sqlite {
    /// Opens the database at `path`, or makes it with the folders above it. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::InUse`] if another store has it open, [`Error::Newer`], [`Error::Foreign`], [`Error::WrongKey`],
    /// [`Error::Damaged`], [`Error::Full`], [`Error::Io`].
    pub fn open(path: &Path, keys: Keys) -> Result<Self, Error> {
        let (files, lock) = Files::prepare(path)?;
        let files = Arc::new(files);
        let in_file = |failure| failure::explain(failure, &files);
        let mut connection = files.connect_writer().map_err(in_file)?;
        migrate::migrate(&mut connection, &files)?;
        reseal::check_key(&mut connection, &keys, &files)?;
        Self::over(connection, Some(lock), files, keys)
    }

    /// Opens a database that a server may have open, for a short piece of work beside it: users and keys may be changed,
    /// conversations and boxes belong to the server. A database that nobody has is made. Blocks for as long as that takes.
    ///
    /// # Errors
    /// As [`Sqlite::open`], but not [`Error::InUse`]; [`Error::WrongKey`] if stored secrets are not under the current key
    /// while a server has them.
    pub fn open_beside(path: &Path, keys: Keys) -> Result<Self, Error> {
        match Self::open(path, keys.clone()) {
            Err(Error::InUse { .. }) => {}
            opened => return opened,
        }
        let files = Arc::new(Files::of(path)?);
        let in_file = |failure| failure::explain(failure, &files);
        let mut connection = files.connect_writer().map_err(in_file)?;
        migrate::check(&mut connection, &files)?;
        reseal::check_key(&mut connection, &keys, &files)?;
        Self::over(connection, None, files, keys)
    }

    fn over(
        mut connection: rusqlite::Connection,
        lock: Option<Lock>,
        files: Arc<Files>,
        keys: Keys,
    ) -> Result<Self, Error> {
        let pulse = Arc::<Pulse>::default();
        let readers = Arc::new(Readers::new(Arc::clone(&files), Arc::clone(&pulse)));
        let audit = AuditLog::new(Arc::clone(&readers), &files, Some(keys.clone()));
        // The server that has the database has done so already.
        if lock.is_some() {
            audit.check_end(&mut connection, &files)?;
        }
        let writer = Writer::start(connection, lock, Arc::clone(&files), Arc::clone(&pulse))?;
        Ok(Self { audit, codec: Codec::new(keys), files, readers, writer, pulse })
    }

    /// Whether there are users in the database at `path`; none if it cannot be read, or is not there yet. Blocks for as
    /// long as that takes.
    pub fn has_users(path: &Path) -> bool {
        let Ok(files) = Files::of(path) else { return false };
        let Ok(connection) = files.connect_reader() else { return false };
        connection.query_row("SELECT EXISTS (SELECT 1 FROM user)", [], |row| row.get(0)).unwrap_or(false)
    }

    /// Reads every page and every index, and returns what is wrong; nothing if all is well. Takes as long as reading
    /// the whole file does.
    ///
    /// # Errors
    /// [`Error`] if the file cannot be read at all.
    pub async fn check(&self) -> Result<Vec<String>, Error> {
        self.readers
            .read(|connection| {
                let mut statement = connection.prepare("PRAGMA integrity_check")?;
                let mut rows = statement.query([])?;
                let mut problems = Vec::new();
                loop {
                    match rows.next() {
                        Ok(Some(row)) => problems.push(row.get(0)?),
                        Ok(None) => break,
                        Err(error) if failure::is_damage(&error) => {
                            problems.push(error.to_string());
                            break;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                problems.retain(|problem: &String| problem != "ok");
                Ok(problems)
            })
            .await
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.files.database).finish()
    }
}

#[async_trait]
impl Audit for Sqlite {
    async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<AuditHead, Error> {
        self.audit.append(&self.writer, entries).await
    }

    async fn audit_head(&self) -> Result<AuditHead, Error> {
        self.audit.head().await
    }

    async fn find_audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, Error> {
        self.audit.find(query).await
    }

    async fn verify_audit(&self, from: Seq, progress: &AuditProgress) -> Result<AuditVerdict, Error> {
        self.audit.verify(from, progress).await
    }

    async fn prune_audit(&self, before: UtcTime, now: UtcTime) -> Result<u64, Error> {
        self.audit.prune(&self.writer, before, now).await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn create_conversation(&self, new: NewConversation) -> Result<Created, Error> {
        let codec = self.codec.clone();
        let new = conversation::NewRow::encode(new, &codec)?;
        self.writer.write(move |connection| conversation::create(connection, &codec, new)).await
    }

    async fn conversation(&self, owner: &Owner, id: ConversationId) -> Result<Option<Conversation>, Error> {
        let (codec, owner) = (self.codec.clone(), owner.clone());
        self.readers.read(move |connection| conversation::get(connection, &codec, &owner, id)).await
    }

    async fn find_conversations(
        &self,
        owner: &Owner,
        query: ConversationQuery,
    ) -> Result<Page<ConversationHead>, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| conversation::list(connection, &owner, &query)).await
    }

    async fn count_conversations(
        &self,
        owner: &Owner,
        status: Option<ExecutionStatus>,
        workspace: Option<Uuid>,
    ) -> Result<u64, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| conversation::count(connection, &owner, status, workspace)).await
    }

    async fn is_in_workspace(&self, owner: &Owner, id: ConversationId, workspace: Uuid) -> Result<Option<bool>, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| conversation::is_in_workspace(connection, &owner, id, workspace)).await
    }

    async fn children(&self, owner: &Owner, parent: ConversationId) -> Result<Vec<ConversationId>, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| conversation::children(connection, &owner, parent)).await
    }

    async fn delete_conversation(&self, owner: &Owner, id: ConversationId) -> Result<bool, Error> {
        let owner = owner.clone();
        self.writer.write(move |connection| conversation::delete(connection, &owner, id)).await
    }

    async fn interrupted(&self) -> Result<Vec<(Owner, ConversationId)>, Error> {
        self.readers.read(conversation::interrupted).await
    }

    async fn commit(&self, id: ConversationId, commit: Commit) -> Result<Seq, Error> {
        let changes = commit::Changes::encode(id, commit, &self.codec)?;
        self.writer.write(move |connection| commit::apply(connection, changes)).await
    }

    async fn events(&self, id: ConversationId, from: Seq, limit: usize) -> Result<Vec<StoredEvent>, Error> {
        let codec = self.codec.clone();
        self.readers.read(move |connection| event::range(connection, &codec, id, from, limit)).await
    }

    async fn find_events(&self, id: ConversationId, query: EventQuery) -> Result<Page<StoredEvent>, Error> {
        let codec = self.codec.clone();
        self.readers.read(move |connection| event::find(connection, &codec, id, &query)).await
    }

    async fn count_events(&self, id: ConversationId, filter: EventFilter) -> Result<u64, Error> {
        self.readers.read(move |connection| event::count(connection, id, &filter)).await
    }

    async fn events_by_id(&self, id: ConversationId, ids: &[String]) -> Result<Vec<Option<StoredEvent>>, Error> {
        let (codec, ids) = (self.codec.clone(), ids.to_vec());
        self.readers.read(move |connection| event::by_id(connection, &codec, id, &ids)).await
    }

    async fn calls(&self, ids: &[ConversationId]) -> Result<Vec<Vec<Call>>, Error> {
        let ids = ids.to_vec();
        self.readers.read(move |connection| commit::calls(connection, &ids)).await
    }

    async fn append_bash(&self, owner: &Owner, scope: At, events: Vec<BashEvent>, keep: u64) -> Result<(), Error> {
        let owner = owner.clone();
        let rows = bash::encode(events)?;
        self.writer.write(move |connection| bash::append(connection, &owner, scope, &rows, keep)).await
    }

    async fn find_bash(&self, owner: &Owner, scope: At, query: BashQuery) -> Result<Page<BashEvent>, Error> {
        let owner = owner.clone();
        self.readers.read(move |connection| bash::find(connection, &owner, scope, &query)).await
    }

    async fn unfinished_bash(&self) -> Result<Vec<(Owner, At, BashCommand)>, Error> {
        self.readers.read(bash::unfinished).await
    }

    async fn clear_bash(&self, owner: &Owner, scope: At) -> Result<u64, Error> {
        let owner = owner.clone();
        self.writer.write(move |connection| bash::clear(connection, &owner, scope)).await
    }

    async fn setting(&self, owner: &Owner, name: &str) -> Result<Option<Value>, Error> {
        let (codec, owner, name) = (self.codec.clone(), owner.clone(), name.to_owned());
        self.readers.read(move |connection| setting::get(connection, &codec, &owner, &name)).await
    }

    async fn set_setting(&self, owner: &Owner, name: &str, value: Option<Value>) -> Result<(), Error> {
        let (owner, name) = (owner.clone(), name.to_owned());
        let json = value.map(|value| setting::encode(value, &self.codec)).transpose()?;
        self.writer
            .write(move |connection| setting::set(connection, setting::Table::Setting, &owner, &name, json.as_deref()))
            .await?;
        Ok(())
    }

    async fn secrets(&self, owner: &Owner) -> Result<IndexMap<String, SecretSource>, Error> {
        let (codec, owner) = (self.codec.clone(), owner.clone());
        self.readers.read(move |connection| setting::secrets(connection, &codec, &owner)).await
    }

    async fn set_secret(&self, owner: &Owner, name: &str, secret: Option<SecretSource>) -> Result<bool, Error> {
        let (owner, name) = (owner.clone(), name.to_owned());
        let json = secret.map(|secret| self.codec.encode(&secret)).transpose()?;
        self.writer
            .write(move |connection| setting::set(connection, setting::Table::Secret, &owner, &name, json.as_deref()))
            .await
    }

    async fn create_sandbox(&self, sandbox: Sandbox) -> Result<bool, Error> {
        let row = sandbox::SandboxRow::encode(sandbox, &self.codec)?;
        self.writer.write(move |connection| sandbox::create(connection, &row)).await
    }

    async fn sandboxes(&self) -> Result<Vec<Sandbox>, Error> {
        let codec = self.codec.clone();
        self.readers.read(move |connection| sandbox::all(connection, &codec)).await
    }

    async fn change_sandbox(&self, id: Uuid, change: SandboxChange) -> Result<Vec<SandboxEvent>, Error> {
        let row = sandbox::ChangeRow::encode(change, &self.codec)?;
        self.writer.write(move |connection| sandbox::change(connection, id, row)).await
    }

    async fn claim_sandbox(&self, id: Uuid, owner: &Owner, at: At, now: UtcTime) -> Result<bool, Error> {
        let owner = owner.clone();
        self.writer.write(move |connection| sandbox::claim(connection, id, &owner, at, now)).await
    }

    async fn delete_sandbox(&self, id: Uuid) -> Result<(), Error> {
        self.writer.write(move |connection| sandbox::delete(connection, id)).await
    }

    async fn sandbox_events(&self, id: Uuid, from: Seq, limit: usize) -> Result<Vec<SandboxEvent>, Error> {
        self.readers.read(move |connection| sandbox::events(connection, id, from, limit)).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
