//! `longshore audit verify`.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::Place;

/// Options of `longshore audit verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,

    /// First record to check; the one before it is trusted.
    #[arg(long, value_name = "SEQ", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
}

pub(super) async fn verify(options: Verify) -> Result<ExitCode> {
    let log = options.place.open()?;
    // Draws itself on a terminal only.
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} records, {eta} left").context("a bar")?;
    let bar = ProgressBar::new(0).with_style(style);
    let shown = bar.clone();
    let progress = move |position, last| {
        shown.set_length(last);
        shown.set_position(position);
    };
    let verdict = log.verify(options.from, &progress).await;
    bar.finish_and_clear();
    let verdict = verdict.context("the audit log cannot be read")?;
    if let Some(problem) = verdict.problem {
        let mut errors = std::io::stderr().lock();
        writeln!(errors, "longshore: the audit log is not as it was written")?;
        writeln!(errors, "  {problem}")?;
        writeln!(
            errors,
            "  {} records before it fit; check what follows with --from {}",
            verdict.count,
            problem.seq + 1
        )?;
        return Ok(ExitCode::FAILURE);
    }
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "{} records fit; the last is {} with the hash {}",
        verdict.count, verdict.last.seq, verdict.last.hash
    )?;
    if !verdict.is_signed {
        writeln!(output, "not checked: the signature of the end, without the secret key (OH_SECRET_KEY)")?;
    }
    Ok(ExitCode::SUCCESS)
}
