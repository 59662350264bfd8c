//! Traces: spans of this program, sent to an OpenTelemetry collector.
//!
//! Without the feature `otlp`, or without an address, nothing is traced and nothing costs anything.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod otlp;

use std::sync::Arc;

use anyhow::Result;
use longshore_server::Tracer;
use reqwest::header::HeaderMap;
use tracing_subscriber::{Layer, Registry};

use crate::{config, settings::Environment};

/// A layer of the log that makes traces of spans.
pub(crate) type TraceLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What is traced, until it is dropped: then what waits is sent, if that is possible soon.
#[derive(Default)]
pub(crate) struct Traces {
    /// Takes spans in. To be moved into the log.
    pub(crate) layer: Option<TraceLayer>,
    /// Ties requests to the traces of others.
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
    /// Makes the headers with which calls of models go on with a trace.
    pub(crate) headers: Option<fn() -> HeaderMap>,
    #[cfg(feature = "otlp")]
    _export: Option<otlp::Export>,
}

impl Traces {
    /// Traces that go where the operator said. `runtime` does the sending.
    #[cfg(feature = "otlp")]
    pub(crate) fn new(
        config: &config::Telemetry,
        environment: &Environment,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        otlp::start(config, environment, runtime)
    }

    /// Nothing is traced by a program that was built without `otlp`.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn new(
        config: &config::Telemetry,
        environment: &Environment,
        _runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        if config.otlp_endpoint.is_some() || environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
            anyhow::bail!(
                "this program cannot send traces: build it with the feature otlp, or give no address for them"
            );
        }
        Ok(Self::default())
    }
}
