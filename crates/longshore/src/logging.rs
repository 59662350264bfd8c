//! The log, on standard error.

use std::io::{IsTerminal as _, Write as _};

use tracing_subscriber::{EnvFilter, prelude::*};

use crate::cli::LogFormat;

/// Starts the log. The level is in `LOG_LEVEL`, in the form of `tracing` (`info`, `longshore_engine=debug`).
pub(crate) fn start(format: Option<LogFormat>, wants_json: bool) {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(level.to_lowercase()).unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal && !wants_json { LogFormat::Text } else { LogFormat::Json });
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).init(),
        LogFormat::Text => registry.with(layer.with_ansi(is_terminal).with_target(false)).init(),
    }
}

/// Says why the program could not do its work: what failed, then each cause.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut text = format!("longshore: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}
