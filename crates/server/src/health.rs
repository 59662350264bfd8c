//! Whether the parts of a server are well.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use longshore_engine::Engine;
use longshore_sandbox::Sandboxes;
use parking_lot::Mutex;
use tokio::time::timeout;

/// How long what was found out counts as new.
const NEW: Duration = Duration::from_secs(1);

/// How long what was found out is told if there is nothing newer in time.
const STALE: Duration = Duration::from_secs(10);

/// How long somebody waits for something newer.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a part may take to answer before it counts as down.
const LIMIT: Duration = Duration::from_secs(2);

/// What was found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Why rows cannot be had.
    pub(crate) store: Option<String>,
    /// The kinds of boxes and why each of them is down, if it is. The first is the one that users get.
    pub(crate) engines: Vec<(&'static str, Option<String>)>,
    /// Boxes that there are.
    pub(crate) boxes: usize,
}

impl Report {
    /// Why the server cannot do its work.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.store.as_deref().or_else(|| self.engines.first()?.1.as_deref())
    }
}

/// Finds out, at most once a second however many ask, and beside those who ask.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    sandboxes: Option<Sandboxes>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    latest: Option<(Instant, Arc<Report>)>,
    under_way: Option<Look>,
}

type Look = Shared<BoxFuture<'static, Arc<Report>>>;

impl Health {
    pub(crate) fn new(engine: Engine, sandboxes: Option<Sandboxes>) -> Self {
        Self(Arc::new(Inner { engine, sandboxes, known: Mutex::default() }))
    }

    /// What is known, not older than [`STALE`].
    pub(crate) async fn report(&self) -> Arc<Report> {
        let (known, look) = {
            let mut known = self.0.known.lock();
            let latest = known.latest.clone().filter(|(at, _)| at.elapsed() < STALE);
            if let Some((_, report)) = latest.as_ref().filter(|(at, _)| at.elapsed() < NEW) {
                return Arc::clone(report);
            }
            let look = known.under_way.get_or_insert_with(|| self.begin()).clone();
            (latest, look)
        };
        let Some((_, old)) = known else { return look.await };
        timeout(PATIENCE, look).await.unwrap_or(old)
    }

    /// Looks in a task of its own, so that it comes to an end whoever waits.
    fn begin(&self) -> Look {
        let health = self.clone();
        let task = tokio::spawn(async move {
            let report = Arc::new(health.look().await);
            let mut known = health.0.known.lock();
            let before = known.latest.as_ref().and_then(|(_, last)| last.trouble());
            match (before, report.trouble()) {
                (None, Some(reason)) => tracing::error!(reason, "the server is not well"),
                (Some(_), None) => tracing::info!("the server is well again"),
                _ => {}
            }
            known.latest = Some((Instant::now(), Arc::clone(&report)));
            known.under_way = None;
            report
        });
        let health = self.clone();
        let end = task.map(move |ended| {
            ended.unwrap_or_else(|error| {
                health.0.known.lock().under_way = None;
                Arc::new(Report { store: Some(format!("its health cannot be told: {error}")), ..Report::default() })
            })
        });
        end.boxed().shared()
    }

    async fn look(&self) -> Report {
        let store = async {
            match timeout(LIMIT, self.0.engine.store().probe()).await {
                Ok(probed) => probed.err().map(|error| error.to_string()),
                Err(_) => Some("the store does not answer".to_owned()),
            }
        };
        let engines = async {
            let Some(sandboxes) = &self.0.sandboxes else { return Vec::new() };
            let asked = sandboxes.health(LIMIT).await;
            asked.into_iter().map(|(name, alive)| (name, alive.err().map(|error| error.to_string()))).collect()
        };
        let (store, engines) = tokio::join!(store, engines);
        let boxes = self.0.sandboxes.as_ref().map_or(0, |sandboxes| sandboxes.count().values().sum());
        Report { store, engines, boxes }
    }
}
