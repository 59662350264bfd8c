//! `longshore audit show`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::{Span, Timestamp, Zoned};
use longshore_protocol::UtcTime;
use longshore_server::AuditItem;
use longshore_store::AuditQuery;

use super::Place;

/// Options of `longshore audit show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    place: Place,

    /// Only what this user did.
    #[arg(long, value_name = "USER")]
    actor: Option<String>,

    /// Only this action, such as conversation.delete.
    #[arg(long)]
    action: Option<String>,

    /// Only what was done to the thing with this id.
    #[arg(long, value_name = "ID")]
    target: Option<String>,

    /// Only what was done since then: 2026-11-20T04:00:00Z, or an age such as 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<UtcTime>,

    /// The latest so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,

    /// One JSON object a line, with everything that is known.
    #[arg(long)]
    json: bool,
}

pub(super) async fn show(options: Show) -> Result<ExitCode> {
    let query = AuditQuery {
        actor: options.actor,
        action: options.action,
        target: options.target,
        since: options.since,
        limit: usize::try_from(options.limit)?,
        ..AuditQuery::default()
    };
    let records = options.place.open()?.find(query).await.context("the audit log cannot be read")?;
    let lines = records.into_iter().rev().map(|record| line(&record.into(), options.json));
    match print(lines) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        printed => printed.map(|()| ExitCode::SUCCESS).context("the records cannot be printed"),
    }
}

fn print(lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(output, "{line}")?;
    }
    output.flush()
}

fn line(item: &AuditItem, as_json: bool) -> String {
    if as_json {
        return serde_json::to_string(item).unwrap_or_default();
    }
    let text = |text: &Option<String>| text.as_deref().unwrap_or("-").escape_debug().to_string();
    let status = item.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    format!(
        "{} {} {} {} {} {} {} {}",
        item.seq,
        item.at,
        text(&item.actor),
        text(&item.address),
        item.action.escape_debug(),
        status,
        text(&item.target),
        serde_json::Value::Object(item.details.clone())
    )
}

/// A time, or how long ago it was.
fn moment(text: &str) -> Result<UtcTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(UtcTime(time));
    }
    let age: Span = text.parse().map_err(|_| "give a time such as 2026-11-20T04:00:00Z, or an age such as 2h or 7d")?;
    let time = Zoned::now().checked_sub(age.abs()).map_err(|error| error.to_string())?;
    Ok(UtcTime(time.timestamp()))
}
