//! How the database is doing.

use std::{fs, io, path::Path};

use async_trait::async_trait;

use super::Sqlite;
use crate::{Error, Space, Vital, Vitals};

#[async_trait]
impl Vital for Sqlite {
    fn vitals(&self) -> Vitals {
        self.pulse.vitals(self.writer.waiting().unwrap_or_default())
    }

    fn space(&self) -> Result<Space, Error> {
        let directory = self.files.directory.clone();
        let disk = rustix::fs::statvfs(&directory)
            .map_err(|error| Error::io("measure the disk of", &directory)(error.into()))?;
        let mut log = self.files.database.clone().into_os_string();
        log.push("-wal");
        Ok(Space {
            database: size(&self.files.database)?,
            log: size(Path::new(&log))?,
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            disk: disk.f_blocks.saturating_mul(disk.f_frsize),
            directory,
        })
    }

    async fn probe(&self) -> Result<(), Error> {
        self.writer.waiting()?;
        self.pulse.recent_failure()?;
        self.readers.read(|connection| Ok(connection.query_row("PRAGMA user_version", [], |_| Ok(()))?)).await
    }
}

/// Bytes of a file; none if it is not there.
fn size(path: &Path) -> Result<u64, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("measure", path)(error)),
    }
}
