//! Servers, and the processes that they started.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::process::{Circumstances, Entry};
use crate::wire::Failure;

/// How many processes there are at most, ended ones included that somebody may still ask for.
const MAX_PROCESSES: usize = 512;

/// All servers that are connected or were not long ago.
pub(super) struct Clients {
    known: Mutex<HashMap<Uuid, Arc<Client>>>,
    room: Arc<Semaphore>,
    linger: Duration,
    hold: Duration,
}

/// One server.
pub(super) struct Client {
    id: Uuid,
    presence: watch::Sender<Presence>,
    connection: Mutex<Current>,
    processes: Mutex<HashMap<Uuid, Arc<Entry>>>,
}

/// The connection over which a server speaks.
#[derive(Default)]
struct Current {
    number: u64,
    end: CancellationToken,
}

/// Whether a server is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    GoneSince(Instant),
}

impl Clients {
    pub(super) fn new(linger: Duration, hold: Duration) -> Self {
        Self { known: Mutex::default(), room: Arc::new(Semaphore::new(MAX_PROCESSES)), linger, hold }
    }

    /// The server `id` speaks over a connection that `connection` ends, and wants no processes but `alive`. Its earlier
    /// connection is ended: it is broken, whether or not that was noticed here.
    pub(super) fn attach(
        self: &Arc<Self>,
        id: Uuid,
        alive: &HashSet<Uuid>,
        connection: CancellationToken,
    ) -> Attachment {
        let (client, number) = {
            let mut known = self.known.lock();
            let client = known.entry(id).or_insert_with(|| Arc::new(Client::new(id))).clone();
            let mut current = client.connection.lock();
            std::mem::replace(&mut current.end, connection).cancel();
            current.number += 1;
            client.presence.send_replace(Presence::Here);
            let number = current.number;
            drop(current);
            (client, number)
        };
        client.keep(|id, _| alive.contains(id));
        Attachment { clients: self.clone(), client, number }
    }

    /// Room for one more process. If there is none, ended ones that a server left behind make some.
    fn room(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let room = || self.room.clone().try_acquire_owned();
        let full = |_| {
            let why = format!("there are {MAX_PROCESSES} in this place already: end some of them");
            Failure::refused("start a process", why)
        };
        room().or_else(|_| {
            let left: Vec<_> = self.known.lock().values().filter(|client| client.is_gone()).cloned().collect();
            for client in left {
                client.keep(|_, entry| !entry.is_over());
            }
            room().map_err(full)
        })
    }

    /// Forgets a server that stayed away, which ends its processes.
    async fn forget(self: Arc<Self>, client: Arc<Client>, since: Instant) {
        if client.processes.lock().is_empty() {
            self.forget_now(&client, since);
            return;
        }
        tokio::time::sleep_until(since + self.linger).await;
        self.forget_now(&client, since);
    }

    fn forget_now(&self, client: &Client, since: Instant) {
        let mut known = self.known.lock();
        if *client.presence.borrow() == Presence::GoneSince(since) {
            known.remove(&client.id);
            drop(known);
            client.keep(|_, _| false);
        }
    }
}

impl Client {
    fn new(id: Uuid) -> Self {
        Self {
            id,
            presence: watch::Sender::new(Presence::Here),
            connection: Mutex::default(),
            processes: Mutex::default(),
        }
    }

    /// The process `id`.
    pub(super) fn process(&self, id: Uuid) -> Result<Arc<Entry>, Failure> {
        self.processes.lock().get(&id).cloned().ok_or(Failure::UnknownProcess)
    }

    /// Forgets the process `id`, which ends it.
    pub(super) fn end(&self, id: Uuid) {
        // Dropped without the lock: to end a process takes a moment.
        let ended = self.processes.lock().remove(&id);
        drop(ended);
    }

    /// Ends all processes but those that are `wanted`.
    fn keep(&self, wanted: impl Fn(&Uuid, &Entry) -> bool) {
        let ended: Vec<_> = self.processes.lock().extract_if(|id, entry| !wanted(id, entry)).collect();
        drop(ended);
    }

    fn is_gone(&self) -> bool {
        *self.presence.borrow() != Presence::Here
    }
}

/// A server that is connected. Dropping it is how it goes.
pub(super) struct Attachment {
    clients: Arc<Clients>,
    pub(super) client: Arc<Client>,
    number: u64,
}

impl Attachment {
    /// The place of the process `id`, which `start` starts unless it was started before.
    pub(super) fn place(
        &self,
        id: Uuid,
        start: impl FnOnce(Circumstances, OwnedSemaphorePermit) -> Entry,
    ) -> Result<Arc<Entry>, Failure> {
        let mut processes = self.client.processes.lock();
        if let Some(entry) = processes.get(&id) {
            return Ok(entry.clone());
        }
        let room = self.clients.room()?;
        let circumstances = Circumstances { presence: self.client.presence.subscribe(), hold: self.clients.hold };
        let entry = Arc::new(start(circumstances, room));
        processes.insert(id, entry.clone());
        Ok(entry)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let since = {
            let current = self.client.connection.lock();
            // Another connection of the same server may have taken over.
            if current.number != self.number {
                return;
            }
            let since = Instant::now();
            self.client.presence.send_replace(Presence::GoneSince(since));
            since
        };
        // Without a runtime everything ends anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.clients.clone().forget(self.client.clone(), since));
        }
    }
}
