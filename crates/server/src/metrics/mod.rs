//! Measurements in the form of Prometheus.
//!
//! Two kinds: what is counted when it happens ([`Metrics`], which belongs to one server and not to the process), and what
//! is looked up when somebody asks (`gather`, `process`). No label holds a user, an id or a path that a client made up; names
//! of models are bounded. Every metric stands in docs/metrics.md.

mod access;
mod agents;
mod gather;
mod models;
mod process;
mod requests;

use std::{fmt, sync::Arc};

use axum::body::Bytes;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

pub use self::access::MetricsAccess;
pub(crate) use self::{access::check, gather::Gatherer, requests::route};
use self::{agents::Agents, requests::Requests};
use crate::Tracer;

/// What a server counts while it works. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    requests: Requests,
    agents: Agents,
    limited: Family<Limited, Counter>,
    tracer: Option<Arc<dyn Tracer>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    limit: &'static str,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(tracer: Option<Arc<dyn Tracer>>) -> Self {
        Self(Arc::new(Inner {
            requests: Requests::default(),
            agents: Agents::default(),
            limited: Family::default(),
            tracer,
        }))
    }

    /// A request was refused because of a limit: `limit` is the name of the limit, one of a few.
    pub(crate) fn rate_limited(&self, limit: &'static str) {
        self.0.limited.get_or_create(&Limited { limit }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        let Inner { requests, agents, limited, tracer: _ } = &*self.0;
        requests.register(registry);
        agents.register(registry);
        registry.register(
            "longshore_rate_limited_requests",
            "Requests that were refused because of a limit, by the name of the limit",
            limited.clone(),
        );
    }
}

/// All metrics of a server, as text.
pub(crate) struct Exposition(Registry);

impl Exposition {
    pub(crate) fn new(metrics: &Metrics, gatherer: Gatherer) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        registry.register_collector(Box::new(gatherer));
        registry.register_collector(Box::new(process::Process));
        Self(registry)
    }

    /// The text that Prometheus reads. Asks the file system, and so may block for a moment.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub(crate) fn text(&self) -> Result<Bytes, fmt::Error> {
        let mut text = String::with_capacity(16 << 10);
        text::encode(&mut text, &self.0)?;
        Ok(text.into())
    }
}
