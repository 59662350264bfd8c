//! The files of a database and the connections to it.

use std::{
    cell::Cell,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, limits::Limit};

use super::failure::Failure;
use crate::{Error, directory};

/// Bytes that a row may have.
pub(super) const MAX_ROW: usize = 128 << 20;

/// How long one connection waits for another, which is only ever short: there is one writer.
pub(super) const BUSY: Duration = Duration::from_secs(10);

const STATEMENTS: usize = 64;

thread_local! {
    /// Pages in the write-ahead log after the latest commit on this thread.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// Where a database is.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) database: PathBuf,
    pub(super) directory: PathBuf,
}

/// Held for as long as the database is open. The operating system lets go of it if the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Files {
    /// Makes what is missing and makes sure that no other process uses it.
    pub(super) fn prepare(path: &Path) -> Result<(Self, Lock), Error> {
        let files = Self::of(path)?;
        directory::create(&files.directory)?;
        let lock = files.lock()?;
        files.create()?;
        Ok((files, lock))
    }

    /// The files of a database that may be another process's.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        let directory = path.parent().unwrap_or(&path).to_owned();
        Ok(Self { database: path, directory })
    }

    fn lock(&self) -> Result<Lock, Error> {
        const MAX_HOLDER: u64 = 20;
        let mut path = self.database.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let mut file = options.open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(MAX_HOLDER).read_to_string(&mut holder);
                let holder = if holder.is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
                return Err(Error::InUse { directory: self.directory.clone(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        // The number helps a person only, so the lock holds without it.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Lock { _file: file })
    }

    /// Makes an empty database that other users cannot read; the files that SQLite adds have the same mode.
    fn create(&self) -> Result<(), Error> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.database) {
            Ok(_) => directory::flush(&self.directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("create", &self.database)(error)),
        }
    }

    pub(super) fn connect_writer(&self) -> Result<Connection, Failure> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            let file = self.database.display();
            let problem = format!("{file} cannot have a write-ahead log; put the data directory on a local disk");
            return Err(Error::Database(problem).into());
        }
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -8192)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        // The writer moves the log into the database itself, after it has answered.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages.unsigned_abs());
            Ok(())
        }));
        Ok(connection)
    }

    pub(super) fn connect_reader(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        Ok(connection)
    }

    fn connect(&self, access: OpenFlags) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.database, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(MAX_ROW).unwrap_or(i32::MAX))?;
        Ok(connection)
    }
}

/// Pages in the write-ahead log after the latest commit on this thread.
pub(super) fn log_pages() -> u32 {
    LOG_PAGES.get()
}
