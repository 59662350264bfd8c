//! What is special about the store in SQLite.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_protocol::Secret;
use longshore_store::{Created, Error, Keys, NewEvent, Sqlite, Store, Usage};
use tempfile::TempDir;

use crate::samples::{self, API_KEY};

/// A database in a folder of its own.
pub(crate) struct Opened {
    store: Arc<Sqlite>,
    folder: TempDir,
}

impl Opened {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(open(&database(&folder)).unwrap());
        Self { store, folder }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    pub(crate) fn folder(&self) -> &TempDir {
        &self.folder
    }

    /// Closes the store and returns the folder.
    pub(crate) async fn close(self) -> TempDir {
        self.store.close().await;
        self.folder
    }
}

pub(crate) fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("data").join("longshore.db")
}

pub(crate) fn keys(current: &str) -> Keys {
    Keys::new(&Secret::new(current), &[])
}

pub(crate) fn open(path: &Path) -> Result<Sqlite, Error> {
    Sqlite::open(path, keys("first"))
}

crate::contract::suite!(super::Opened::new);

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    opened.store.create_conversation(new.clone()).await.unwrap();
    let event = samples::message(0, "hello");
    opened.store.commit(new.id, samples::commit(0, vec![event.clone()])).await.unwrap();
    let before = opened.store.conversation(&owner, new.id).await.unwrap();
    let folder = opened.close().await;

    let store = open(&database(&folder)).unwrap();
    assert_eq!(store.conversation(&owner, new.id).await.unwrap(), before);
    assert_eq!(store.events(new.id, 0, 9).await.unwrap()[0].json, event.json);
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    // Dropping is closing.
    drop(store);
    assert!(open(&database(&folder)).is_ok());
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let opened = Opened::new();
    let error = open(&database(&opened.folder)).unwrap_err();
    let directory = database(&opened.folder).parent().unwrap().to_owned();
    assert!(
        matches!(&error, Error::InUse { directory: found, holder } if *found == directory && *holder == std::process::id().to_string()),
        "{error:?}"
    );
    assert!(error.to_string().contains(&directory.display().to_string()));
    let folder = opened.close().await;
    assert!(open(&database(&folder)).is_ok());
}

#[tokio::test]
async fn secrets_are_not_in_the_files() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    opened.store.create_conversation(new.clone()).await.unwrap();
    let event = NewEvent { arguments: Some(format!("{{\"key\":\"{API_KEY}\"}}")), ..samples::pause(0) };
    let mut commit = samples::commit(0, vec![event]);
    commit.definition = Some(new.definition.clone());
    commit.secrets = Some(new.secrets.clone());
    opened.store.commit(new.id, commit).await.unwrap();
    let value = serde_json::json!({"api_key": API_KEY, "env": {"A": API_KEY}});
    opened.store.set_setting(&owner, "llm", Some(value)).await.unwrap();
    opened.store.set_secret(&owner, "KEY", Some(samples::secret(API_KEY))).await.unwrap();

    let directory = database(&opened.folder).parent().unwrap().to_owned();
    let assert_hidden = |when: &str| {
        let mut names = Vec::new();
        for file in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let bytes = fs::read(file.path()).unwrap();
            let found = bytes.windows(API_KEY.len()).any(|window| window == API_KEY.as_bytes());
            assert!(!found, "{when}: {}", file.path().display());
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", file.path().display());
            names.push(file.file_name().into_string().unwrap());
        }
        names
    };
    assert!(assert_hidden("open").contains(&"longshore.db-wal".to_owned()));
    let _folder = opened.close().await;
    assert!(!assert_hidden("closed").contains(&"longshore.db-wal".to_owned()));
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o077, 0);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = Opened::new().close().await;
    let connection = rusqlite::Connection::open(database(&folder)).unwrap();
    connection.execute("INSERT INTO migration (number, checksum) VALUES (9999, 'x')", []).unwrap();
    drop(connection);
    let error = open(&database(&folder)).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 9999, .. }), "{error:?}");
}

#[tokio::test]
async fn a_schema_of_an_unfinished_version_is_refused() {
    let folder = Opened::new().close().await;
    let connection = rusqlite::Connection::open(database(&folder)).unwrap();
    connection.execute("UPDATE migration SET checksum = 'x' WHERE number = 1", []).unwrap();
    drop(connection);
    let error = open(&database(&folder)).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn opening_again_does_not_migrate_again() {
    let folder = Opened::new().close().await;
    let schema = || -> Vec<String> {
        let connection = rusqlite::Connection::open(database(&folder)).unwrap();
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema UNION ALL SELECT number || checksum || applied_at FROM migration")
            .unwrap();
        let lines = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        lines.map(|line| line.unwrap().unwrap_or_default()).collect()
    };
    let before = schema();
    drop(open(&database(&folder)).unwrap());
    assert_eq!(schema(), before);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_done() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    let id = new.id;
    let write = opened.store.create_conversation(new);
    // Long enough to be accepted, too short to be answered: the first poll puts it into the queue.
    tokio::select! {
        biased;
        _ = write => {}
        () = std::future::ready(()) => {}
    }
    let folder = opened.close().await;
    let store = open(&database(&folder)).unwrap();
    assert!(store.conversation(&owner, id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_transactions() {
    const WRITERS: u64 = 64;
    let opened = Opened::new();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = opened.store();
        writers.spawn(async move {
            let new = samples::conversation(&samples::owner("ann"));
            assert_eq!(store.create_conversation(new.clone()).await.unwrap(), Created::New);
            for tail in 0..10 {
                store.commit(new.id, samples::commit(tail, vec![samples::pause(0)])).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(opened.store.count_conversations(&samples::owner("ann"), None, None).await.unwrap(), WRITERS);
    // The log restarts when it has been moved into the database, so it stays small.
    let log = database(&opened.folder).with_extension("db-wal");
    assert!(fs::metadata(log).unwrap().len() < 64 << 20);
}

#[tokio::test]
async fn what_was_spent_before_there_were_sums_is_summed() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    opened.store.create_conversation(new.clone()).await.unwrap();
    let mut commit = samples::commit(0, Vec::new());
    commit.calls = vec![samples::call("agent", 1), samples::call("condenser", 2)];
    opened.store.commit(new.id, commit).await.unwrap();
    let day = longshore_store::day_of(&samples::call("agent", 1));
    let before = opened.store.spent(&owner, day).await.unwrap();
    assert_eq!(before.day.calls, 2);

    let folder = opened.close().await;
    let connection = rusqlite::Connection::open(database(&folder)).unwrap();
    connection.execute_batch("DROP TABLE usage; DELETE FROM migration WHERE number = 5").unwrap();
    drop(connection);
    let store = open(&database(&folder)).unwrap();
    assert_eq!(store.spent(&owner, day).await.unwrap(), before);
}
