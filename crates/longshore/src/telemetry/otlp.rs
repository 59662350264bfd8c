//! Spans as OTLP, and W3C trace context in and out.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use longshore_server::Tracer;
use opentelemetry::{
    propagation::TextMapPropagator as _,
    trace::{Status, TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};
use reqwest::{Method, StatusCode, Url, header::HeaderMap};
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer as _, filter::filter_fn};

use super::{TraceLayer, Traces, collector::Collector};
use crate::{config, settings::Environment};

/// Spans that wait to be sent; more are dropped.
const MAX_WAITING: usize = 2048;

/// How long the end of the program waits for spans that are still to be sent.
const PATIENCE: Duration = Duration::from_millis(500);

/// The name under which all spans are made.
const SCOPE: &str = "longshore";

/// Sends spans until it is dropped.
pub(super) struct Export(SdkTracerProvider);

impl Drop for Export {
    fn drop(&mut self) {
        // A collector that does not answer has been complained of.
        let _ = self.0.shutdown_with_timeout(PATIENCE);
    }
}

/// Begins to send spans, if there is a place for them.
pub(super) fn start(
    config: &config::Telemetry,
    environment: &Environment,
    runtime: &tokio::runtime::Handle,
) -> Result<Traces> {
    let Some(address) = address(config, environment)? else { return Ok(Traces::default()) };
    let collector = Collector::new(runtime).context("the client for the collector cannot be made")?;
    let exporter = SpanExporter::builder().with_http().with_http_client(collector).with_endpoint(address).build();
    let exporter = exporter.context("traces cannot be sent as the configuration says")?;
    let limits = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(limits).build())
        .with_resource(resource(config, environment))
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_filter(filter_fn(is_ours));
    Ok(Traces {
        layer: Some(Box::new(layer) as TraceLayer),
        tracer: Some(Arc::new(W3c)),
        headers: config.propagate_to_models.then_some(headers as fn() -> HeaderMap),
        _export: Some(Export(provider)),
    })
}

/// Where spans go. The environment comes first, and what is for traces alone before what is for everything.
fn address(config: &config::Telemetry, environment: &Environment) -> Result<Option<String>> {
    if environment.is_on("OTEL_SDK_DISABLED") || environment.get("OTEL_TRACES_EXPORTER") == Some("none") {
        return Ok(None);
    }
    let (address, is_complete) = match environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(address) => (Some(address), true),
        None => (environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").or(config.otlp_endpoint.as_deref()), false),
    };
    let Some(address) = address else { return Ok(None) };
    // The address is not repeated: there may be a password in it.
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else { bail!("the address of the collector is no http or https address") };
    let text = url.as_str().trim_end_matches('/');
    Ok(Some(if is_complete { text.to_owned() } else { format!("{text}/v1/traces") }))
}

fn resource(config: &config::Telemetry, environment: &Environment) -> Resource {
    let name = environment.get("OTEL_SERVICE_NAME").or(config.service_name.as_deref()).unwrap_or(SCOPE);
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_service_name(name.to_owned()).with_attribute(version).build()
}

/// Spans of our own crates alone: those of libraries are about connections, among them the one to the collector. Lines of the
/// log stay in the log.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("longshore") && *metadata.level() <= tracing::Level::INFO
}

/// The headers with which whoever is asked in the current span goes on with its trace.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut HeaderInjector(&mut headers));
    headers
}

/// W3C trace context.
#[derive(Debug)]
struct W3c;

impl Tracer for W3c {
    fn received(&self, span: &Span, headers: &HeaderMap) {
        // A header that makes no sense is as good as none.
        join(span, TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
        span.set_attribute("otel.kind", "server");
    }

    fn answered(&self, span: &Span, method: &Method, route: &str, status: StatusCode) {
        span.set_attribute("http.request.method", method.as_str().to_owned());
        span.set_attribute("http.route", route.to_owned());
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
    }

    fn caused(&self, work: &Span, cause: &Span) {
        join(work, cause.context());
    }
}

/// Has a span that was just made belong to a trace, and tells the log which that is.
fn join(span: &Span, parent: opentelemetry::Context) {
    // Fails for a span that nobody takes in.
    let _ = span.set_parent(parent);
    let context = span.context();
    let trace = context.span().span_context().trace_id();
    if trace != opentelemetry::TraceId::INVALID {
        span.record("trace.id", tracing::field::display(trace));
    }
}
