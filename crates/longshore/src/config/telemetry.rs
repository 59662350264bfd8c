//! `[telemetry]`: who may watch the server, and where its traces go.

use longshore_protocol::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Who may watch the server, and where its traces go. Environment variables of OpenTelemetry (`OTEL_…`) come before it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// What a program shows as `Authorization: Bearer` to read `/metrics`. It opens nothing else. Without it: administrators and
    /// programs on this machine only.
    #[schemars(with = "Option<String>")]
    pub(crate) metrics_token: Option<Secret>,
    /// Whether everybody may read `/metrics`.
    pub(crate) public_metrics: bool,
    /// Address of an OpenTelemetry collector that takes OTLP over HTTP, without the path: `http://127.0.0.1:4318`. Without it,
    /// and without `OTEL_EXPORTER_OTLP_ENDPOINT`, nothing is traced.
    pub(crate) otlp_endpoint: Option<String>,
    /// Name of this server in traces. Without it, and without `OTEL_SERVICE_NAME`: `longshore`.
    pub(crate) service_name: Option<String>,
    /// Whether calls of models carry the header `traceparent`, so that a provider's traces go on with those of this server.
    pub(crate) propagate_to_models: bool,
}
