//! The thread that writes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    failure::{Failure, explain},
    files::{self, Files, Lock},
    pulse::Pulse,
};
use crate::Error;

/// Pieces of work that may wait. Whoever wants to add another one waits, too.
const QUEUE: usize = 1024;

/// Pieces of work that share a transaction at most, so that the first is not kept waiting by all that follow.
const GROUP: usize = 256;

/// Pages that the write-ahead log grows by until it is moved into the database.
const LOG_GROWTH: u32 = 1000;

/// Pages of the write-ahead log after which readers are waited for, so that it can begin anew.
const MAX_LOG: u32 = 16_000;

/// How long readers are waited for.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    pulse: Arc<Pulse>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        lock: Option<Lock>,
        files: Arc<Files>,
        pulse: Arc<Pulse>,
    ) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let directory = files.directory.clone();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, jobs, &files, lock))
            .map_err(Error::io("start a thread for", directory))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Arc::new(Mutex::new(Some(thread))), pulse })
    }

    /// Does `work` in a transaction and returns when that is on disk. If `work` fails, nothing of it is stored. Work
    /// that was accepted is done even if nobody waits for it any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let outcome = self.queue(work).await;
        self.pulse.wrote(began, &outcome);
        outcome
    }

    async fn queue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)?;
        let (answer, outcome) = oneshot::channel();
        let task = Task { work: Some(work), result: None, answer };
        queue.send(Box::new(task)).await.map_err(|_| Error::Closed)?;
        drop(queue);
        outcome.await.unwrap_or(Err(Error::Closed))
    }

    /// How much work waits.
    ///
    /// # Errors
    /// [`Error::Closed`] if none is taken any more.
    pub(super) fn waiting(&self) -> Result<usize, Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().filter(|queue| !queue.is_closed()).ok_or(Error::Closed)?;
        Ok(queue.max_capacity() - queue.capacity())
    }

    /// Waits until all that was accepted is on disk and the file is closed.
    pub(super) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = Arc::clone(&self.thread);
        let _ = spawn_blocking(move || join(&thread)).await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        join(&self.thread);
    }
}

/// A second caller waits as long as the first.
fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.take().is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the thread that writes to the store broke off");
    }
}

/// A piece of work with somebody who waits for it.
trait Job: Send {
    /// Does the work. The error is also kept for the one who waits.
    fn run(&mut self, connection: &Connection, files: &Files) -> Result<(), Error>;

    /// Tells the one who waits how the work and the transaction ended.
    fn answer(self: Box<Self>, transaction: Result<(), Error>);
}

struct Task<W, T> {
    work: Option<W>,
    result: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<W, T> Job for Task<W, T>
where
    W: FnOnce(&Connection) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection, files: &Files) -> Result<(), Error> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let result = in_savepoint(connection, work).map_err(|failure| explain(failure, files));
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, transaction: Result<(), Error>) {
        let result = match (transaction, self.result) {
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Closed),
        };
        let _ = self.answer.send(result);
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(connection);
    // Some failures, such as a full disk, end the whole transaction.
    if result.is_err() && !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    if !connection.is_autocommit() {
        connection.prepare_cached("RELEASE job")?.execute([])?;
    }
    result
}

fn run(connection: Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>, files: &Files, lock: Option<Lock>) {
    let mut group = Vec::new();
    let mut log = Log { moved: 0 };
    while jobs.blocking_recv_many(&mut group, GROUP) > 0 {
        let outcome = run_group(&connection, &mut group, files);
        for job in group.drain(..) {
            job.answer(outcome.clone());
        }
        log.keep_short(&connection, files);
    }
    checkpoint(&connection, "PRAGMA wal_checkpoint(TRUNCATE)", files);
    if let Err((_, error)) = connection.close() {
        tracing::warn!(file = %files.database.display(), %error, "the database did not close");
    }
    drop(lock);
}

/// Does the work of all `jobs` in one transaction.
fn run_group(connection: &Connection, jobs: &mut [Box<dyn Job>], files: &Files) -> Result<(), Error> {
    let explained = |error: rusqlite::Error| explain(error, files);
    connection.prepare_cached("BEGIN IMMEDIATE").map_err(explained)?.execute([]).map_err(explained)?;
    for job in jobs {
        let result = job.run(connection, files);
        if connection.is_autocommit() {
            return result.and(Err(Error::Database("the transaction ended too early".to_owned())));
        }
    }
    connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).map(|_| ()).map_err(|error| {
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        explained(error)
    })
}

/// The write-ahead log, which the writer moves into the database after it has answered.
struct Log {
    /// Pages that it had when that was last tried.
    moved: u32,
}

impl Log {
    fn keep_short(&mut self, connection: &Connection, files: &Files) {
        let pages = files::log_pages();
        // It begins anew once all of it was moved and nobody reads it.
        self.moved = if pages < self.moved { 0 } else { self.moved };
        if pages - self.moved < LOG_GROWTH {
            return;
        }
        self.moved = pages;
        if pages < MAX_LOG {
            checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)", files);
        } else if connection.busy_timeout(PATIENCE).is_ok() {
            checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)", files);
            let _ = connection.busy_timeout(files::BUSY);
        }
    }
}

/// What is in the log is safe already, so a failure only lets it grow until the next try.
fn checkpoint(connection: &Connection, pragma: &str, files: &Files) {
    if let Err(error) = connection.query_row(pragma, [], |_| Ok(())) {
        tracing::warn!(file = %files.database.display(), %error, "the write-ahead log stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tempfile::TempDir;

    use super::{super::files::MAX_ROW, *};

    struct Fixture {
        writer: Writer,
        files: Arc<Files>,
        _folder: TempDir,
    }

    impl Fixture {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (files, lock) = Files::prepare(&folder.path().join("test.db")).unwrap();
            let files = Arc::new(files);
            let writer =
                Writer::start(files.connect_writer().unwrap(), Some(lock), Arc::clone(&files), Arc::default()).unwrap();
            let fixture = Self { writer, files, _folder: folder };
            fixture.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, text BLOB)").await.unwrap();
            fixture
        }

        async fn execute(&self, sql: &str) -> Result<(), Error> {
            let sql = sql.to_owned();
            self.writer.write(move |connection| Ok(connection.execute_batch(&sql)?)).await
        }

        /// Keeps the thread busy until the answer is used or dropped, so that what follows becomes one group.
        async fn hold(self: &Arc<Self>) -> Sender<()> {
            let (release, held): (_, Receiver<()>) = channel();
            let (starts, started) = oneshot::channel();
            let fixture = Arc::clone(self);
            tokio::spawn(async move {
                let work = move |_: &Connection| {
                    let _ = starts.send(());
                    let _ = held.recv();
                    Ok(())
                };
                fixture.writer.write(work).await
            });
            started.await.unwrap();
            release
        }

        fn ids(&self) -> Vec<i64> {
            ids(&self.files.connect_reader().unwrap())
        }
    }

    fn ids(connection: &Connection) -> Vec<i64> {
        let mut statement = connection.prepare("SELECT id FROM item ORDER BY id").unwrap();
        let ids = statement.query_map([], |row| row.get(0)).unwrap();
        ids.map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn what_waits_shares_a_transaction_and_a_failure_only_fails_itself() {
        let fixture = Arc::new(Fixture::new().await);
        let release = fixture.hold().await;
        let insert = |id: i64| {
            fixture.writer.write(move |connection| {
                connection.execute("INSERT INTO item (id) VALUES (?1)", [id])?;
                Ok(id)
            })
        };
        let fails = fixture.writer.write(|connection| {
            connection.execute("INSERT INTO item (id) VALUES (7)", [])?;
            Err::<(), _>(Error::Closed.into())
        });
        let files = Arc::clone(&fixture.files);
        let looks = fixture.writer.write(move |connection| Ok((ids(connection), ids(&files.connect_reader()?))));
        let release = async {
            drop(release);
        };
        let (first, failed, twice, seen, last, ()) =
            tokio::join!(insert(1), fails, insert(1), looks, insert(2), release);
        assert!(matches!((first, last), (Ok(1), Ok(2))));
        assert!(matches!(failed, Err(Error::Closed)));
        assert!(matches!(twice, Err(Error::Database(_))));
        assert_eq!(seen.unwrap(), (vec![1], vec![]), "not committed yet when the next one runs");
        assert_eq!(fixture.ids(), [1, 2]);
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_writing_goes_on_when_there_is_space() {
        let fixture = Fixture::new().await;
        fixture.execute("INSERT INTO item (id) VALUES (1)").await.unwrap();
        fixture.execute("PRAGMA max_page_count = 10").await.unwrap();
        let error = fixture.execute("INSERT INTO item VALUES (2, zeroblob(100000))").await.unwrap_err();
        assert!(matches!(&error, Error::Full(directory) if *directory == fixture.files.directory), "{error:?}");
        assert_eq!(fixture.ids(), [1]);
        fixture.execute("INSERT INTO item (id) VALUES (3)").await.unwrap();
        fixture.execute("PRAGMA max_page_count = 1000").await.unwrap();
        fixture.execute("INSERT INTO item VALUES (2, zeroblob(100000))").await.unwrap();
        assert_eq!(fixture.ids(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_lost_transaction_fails_all_who_shared_it() {
        let fixture = Arc::new(Fixture::new().await);
        let release = fixture.hold().await;
        let release = async {
            drop(release);
        };
        let (first, lost, last, ()) = tokio::join!(
            fixture.execute("INSERT INTO item (id) VALUES (1)"),
            fixture.execute("ROLLBACK"),
            fixture.execute("INSERT INTO item (id) VALUES (2)"),
            release
        );
        assert!(first.is_err() && lost.is_err() && last.is_err());
        assert_eq!(fixture.ids(), [0; 0]);
        fixture.execute("INSERT INTO item (id) VALUES (3)").await.unwrap();
        assert_eq!(fixture.ids(), [3]);
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_is_refused() {
        let fixture = Fixture::new().await;
        let error = fixture.execute(&format!("INSERT INTO item VALUES (1, zeroblob({MAX_ROW}))")).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: MAX_ROW }), "{error:?}");
        fixture.execute("INSERT INTO item (id) VALUES (1)").await.unwrap();
    }
}
