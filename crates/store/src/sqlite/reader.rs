//! Connections that read.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    failure::{Failure, explain},
    files::Files,
    pulse::Pulse,
};
use crate::Error;

/// How many read at once. More would only wait for the same disk and processors.
const CONNECTIONS: u32 = 4;

#[derive(Debug)]
pub(super) struct Readers {
    files: Arc<Files>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    pulse: Arc<Pulse>,
}

impl Readers {
    pub(super) fn new(files: Arc<Files>, pulse: Arc<Pulse>) -> Self {
        Self { files, idle: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS as usize)), pulse }
    }

    /// Does `work` on one consistent state of the database, which has everything that was answered before.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let readers = Arc::clone(self);
        let result = spawn_blocking(move || {
            let result = readers.with_connection(work).map_err(|failure| explain(failure, &readers.files));
            drop(permit);
            readers.pulse.read(&result);
            result
        });
        result.await.unwrap_or_else(|error| Err(Error::Database(format!("a read broke off: {error}"))))
    }

    fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.files.connect_reader()?,
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let result = work(&connection);
        // A connection that cannot end its transaction is not used again.
        connection.prepare_cached("ROLLBACK")?.execute([])?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    /// Waits for those that read and closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(CONNECTIONS).await {
            self.permits.close();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            drop(all);
        }
    }
}
