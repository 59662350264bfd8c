//! The queue before the audit log, and the task that writes.

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use longshore_protocol::UtcTime;
use longshore_store::{AuditEntry, Store};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    AuditOptions, names,
    refusals::{Refusals, WINDOW},
};

/// Records that may wait to be written. Who has another one waits.
const QUEUE: usize = 4096;

/// Records that are written together at most.
const GROUP: usize = 256;

/// How long a record waits for others.
const LINGER: Duration = Duration::from_millis(50);

/// How long a request waits for a place in the queue. After that its record is lost, which is counted and logged.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How often a failure that lasts is told again.
const REMINDER: Duration = Duration::from_mins(1);

/// How long the end of the server waits for the last records.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// How often old records are looked for.
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);

/// Writes to the audit log beside whatever is told to it.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: AuditOptions,
    store: Arc<dyn Store>,
    /// None once the server stops.
    queue: Mutex<Option<mpsc::Sender<AuditEntry>>>,
    /// Until the task takes it.
    entries: Mutex<Option<mpsc::Receiver<AuditEntry>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    refusals: Refusals,
    is_failing: AtomicBool,
    lost: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(options: AuditOptions, store: Arc<dyn Store>) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        Self(Arc::new(Inner {
            refusals: Refusals::new(options.refusals),
            options,
            store,
            queue: Mutex::new(Some(queue)),
            entries: Mutex::new(Some(entries)),
            task: Mutex::new(None),
            is_failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }))
    }

    /// Begins to write.
    pub(crate) fn start(&self) {
        if !self.is_enabled() {
            return;
        }
        if let Some(entries) = self.0.entries.lock().take() {
            *self.0.task.lock() = Some(tokio::spawn(write_all(Arc::clone(&self.0), entries)));
        }
    }

    /// Writes what waits, and ends.
    pub(crate) async fn close(&self) {
        self.0.queue.lock().take();
        let task = self.0.task.lock().take();
        if let Some(task) = task
            && timeout(CLOSE_PATIENCE, task).await.is_err()
        {
            tracing::error!("the last records of the audit log are lost: they could not be written in time");
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.0.options.enabled
    }

    /// Whether all that happened is in the log, or on its way there.
    pub(crate) fn is_well(&self) -> bool {
        !self.0.is_failing.load(Ordering::Relaxed)
    }

    /// Whether nothing may be changed now.
    pub(crate) fn refuses_changes(&self) -> bool {
        self.0.options.required && !self.is_well()
    }

    /// Whether a refusal of this address is to be logged by itself; it is counted in any case.
    pub(crate) fn admit_refusal(&self, client: Option<IpAddr>) -> bool {
        self.0.refusals.admit(client)
    }

    /// Logs something; waits for a place in the queue, but not for the disk.
    pub(crate) async fn record(&self, entry: AuditEntry) {
        let Some(queue) = self.queue() else { return };
        if timeout(PATIENCE, queue.send(entry)).await.is_err() {
            self.lose();
        }
    }

    /// Logs something from where nobody can wait.
    pub(super) fn record_later(&self, entry: AuditEntry) {
        let Some(queue) = self.queue() else { return };
        if let Err(mpsc::error::TrySendError::Full(entry)) = queue.try_send(entry) {
            let recorder = self.clone();
            tokio::spawn(async move { recorder.record(entry).await });
        }
    }

    fn queue(&self) -> Option<mpsc::Sender<AuditEntry>> {
        self.0.queue.lock().clone().filter(|_| self.is_enabled())
    }

    fn lose(&self) {
        if self.0.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!("the audit log is written too slowly: records are lost");
        }
        self.0.is_failing.store(true, Ordering::Relaxed);
    }
}

async fn write_all(inner: Arc<Inner>, mut entries: mpsc::Receiver<AuditEntry>) {
    let mut batch = Vec::with_capacity(GROUP);
    let mut sums = interval(WINDOW / 6);
    let mut prune = interval(PRUNE_INTERVAL);
    for interval in [&mut sums, &mut prune] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        let is_over = tokio::select! {
            biased;
            count = entries.recv_many(&mut batch, GROUP) => {
                gather(&mut entries, &mut batch).await;
                count == 0
            }
            _ = sums.tick() => false,
            _ = prune.tick() => {
                inner.prune().await;
                false
            }
        };
        batch.extend(inner.summary(is_over));
        if !batch.is_empty() && !inner.write(&batch, &entries).await {
            return;
        }
        batch.clear();
        if is_over {
            return;
        }
    }
}

/// Adds what comes within a moment, so that many records share one flush to disk. Each on its own would take as much from the
/// disk as the work that it tells of.
async fn gather(entries: &mut mpsc::Receiver<AuditEntry>, batch: &mut Vec<AuditEntry>) {
    let mut over = pin!(sleep(LINGER));
    while batch.len() < GROUP {
        let more = GROUP - batch.len();
        tokio::select! {
            count = entries.recv_many(batch, more) => if count == 0 { return },
            () = &mut over => return,
        }
    }
}

impl Inner {
    /// Writes until it works; false if the server stops before.
    async fn write(&self, batch: &[AuditEntry], entries: &mpsc::Receiver<AuditEntry>) -> bool {
        let mut told: Option<Instant> = None;
        loop {
            let Err(error) = self.store.append_audit(batch.to_vec()).await else { break };
            self.is_failing.store(true, Ordering::Relaxed);
            if told.is_none_or(|told| told.elapsed() >= REMINDER) {
                told = Some(Instant::now());
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, waiting = batch.len() + entries.len(), "the audit log cannot be written");
            }
            if entries.is_closed() || self.queue.lock().is_none() {
                tracing::error!(lost = batch.len() + entries.len(), "the last records of the audit log are lost");
                return false;
            }
            sleep(RETRY).await;
        }
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
        }
        true
    }

    /// What was counted instead of being logged.
    fn summary(&self, all: bool) -> Vec<AuditEntry> {
        let now = UtcTime(Timestamp::now());
        let mut entries = Vec::new();
        for (address, count) in self.refusals.sums(all) {
            let mut entry = AuditEntry::new(now, names::REFUSED);
            entry.address = address.map(|address| address.to_string());
            entry.details.insert("repeated".to_owned(), count.into());
            entries.push(entry);
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let mut entry = AuditEntry::new(now, names::LOST);
            entry.details.insert("records".to_owned(), lost.into());
            entries.push(entry);
        }
        entries
    }

    async fn prune(&self) {
        let Some(retention) = self.options.retention else { return };
        let now = Timestamp::now();
        let Ok(before) = SignedDuration::try_from(retention).and_then(|age| now.checked_sub(age)) else { return };
        loop {
            match self.store.prune_audit(UtcTime(before), UtcTime(now)).await {
                Ok(0) => return,
                Ok(records) => tracing::info!(records, "old records of the audit log were removed"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "old records of the audit log cannot be removed");
                    return;
                }
            }
        }
    }
}
