//! The log: on standard error for a server, in a file for programs that talk to people.

mod lossy;

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Mutex,
};

use anyhow::{Context as _, Result};
pub(crate) use lossy::Flush;
use tracing_subscriber::{EnvFilter, prelude::*};

use crate::{cli::LogFormat, telemetry::TraceLayer};

/// What a log file may take in all. After that nothing more is written to it.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Starts the log on standard error. The level is in `LOG_LEVEL`, in the form of `tracing` (`info`,
/// `longshore_engine=debug`).
///
/// Nobody waits for standard error: lines that it does not take in time are lost and counted. What is on its way when the
/// result is dropped is still written if that is possible soon.
pub(crate) fn start(format: Option<LogFormat>, wants_json: bool, traces: Option<TraceLayer>) -> Flush {
    let is_terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal && !wants_json { LogFormat::Text } else { LogFormat::Json });
    let notice = match format {
        LogFormat::Json => {
            |lost| format!(r#"{{"level":"WARN","message":"{lost} lines of the log were not read in time"}}"#)
        }
        LogFormat::Text => |lost| format!("WARN {lost} lines of the log were not read in time"),
    };
    let (writer, flush) = lossy::writer(io::stderr(), notice);
    let registry = tracing_subscriber::registry().with(traces);
    match format {
        LogFormat::Json => {
            let layer = json_subscriber::layer().with_writer(writer).flatten_event(true);
            // What a line belongs to stands apart from what it says, so that no key is there twice.
            let layer = layer.with_current_span(false).with_flat_span_list(true);
            registry.with(layer.with_filter(filter("info"))).init();
        }
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer().with_writer(writer);
            registry.with(layer.with_ansi(is_terminal).with_target(false).with_filter(filter("info"))).init();
        }
    }
    // A panic's own message would go to standard error directly and wait for it.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a part of the program crashed")));
    flush
}

/// Starts the log in a file that only this user can read. Without `LOG_LEVEL`, only warnings and errors are logged.
pub(crate) fn start_in_file(path: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("the log {} cannot be written", path.display()))?;
    let left = MAX_FILE_BYTES.saturating_sub(file.metadata().map_or(0, |metadata| metadata.len()));
    let layer = tracing_subscriber::fmt::layer().with_writer(Mutex::new(Limited { file, left })).with_ansi(false);
    tracing_subscriber::registry().with(filter("warn")).with(layer).init();
    Ok(())
}

fn filter(default: &str) -> EnvFilter {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| default.to_owned());
    EnvFilter::try_new(level.to_lowercase()).unwrap_or_else(|_| EnvFilter::new(default))
}

/// A file that does not grow beyond a limit.
struct Limited {
    file: File,
    left: u64,
}

impl Write for Limited {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if len <= self.left {
            self.left -= len;
            self.file.write_all(line)?;
        } else {
            self.left = 0;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
