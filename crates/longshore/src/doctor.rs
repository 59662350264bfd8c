//! `longshore doctor`: what this machine can do for boxes.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use longshore_sandbox::{Finding, Level};
use longshore_workspace::LocalOptions;
use serde_json::{Value, json};

use crate::{
    boxes::{Examined, Maker},
    cli::Doctor,
    render::{Line, Style},
    settings::Environment,
};

/// Columns of a finding's level and subject.
const LEVEL: usize = 9;
const SUBJECT: usize = 20;

/// Examines this machine and says what it found.
pub(crate) fn doctor(options: Doctor) -> Result<ExitCode> {
    let environment = Environment::of_process();
    let config = options.sandbox.config()?;
    // Nothing of a server is touched: what is tried is done in a folder that is gone afterwards.
    let folder = tempfile::tempdir().context("a temporary folder cannot be made")?;
    let data_dir = folder.path().canonicalize().context("the temporary folder is gone")?;
    let local = LocalOptions::new(&data_dir);
    let maker = Maker { config: &config, environment: &environment, data_dir: &data_dir, local, has_users: false };
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    let (kinds, chosen) = runtime.block_on(maker.examine())?;

    let mut output = std::io::stdout().lock();
    if options.json {
        writeln!(output, "{:#}", as_json(&kinds, chosen))?;
    } else {
        let colours = output.is_terminal();
        for line in as_lines(&kinds, chosen) {
            line.write(&mut output, colours)?;
        }
    }
    Ok(if chosen.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program's own part in boxes: it must run in any image.
fn program() -> Finding {
    let subject = "program";
    if cfg!(target_feature = "crt-static") {
        let detail = "statically linked: it runs in every image for this processor".to_owned();
        return Finding { subject, level: Level::Ok, detail, advice: None };
    }
    let advice = "build it in the repository, whose settings link it statically".to_owned();
    let detail = "needs this machine's C library, which other images may not have".to_owned();
    Finding { subject, level: Level::Warning, detail, advice: Some(advice) }
}

fn worst(kind: &Examined) -> Level {
    kind.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

fn as_json(kinds: &[Examined], chosen: Option<&str>) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "subject": finding.subject, "level": word(finding.level), "detail": finding.detail, "advice": finding.advice,
        })
    };
    let kinds = kinds.iter().map(|kind| {
        let findings: Vec<_> = kind.findings.iter().map(finding).collect();
        json!({"name": kind.name, "works": worst(kind) != Level::Missing, "findings": findings})
    });
    json!({"used": chosen, "program": finding(&program()), "backends": kinds.collect::<Vec<_>>()})
}

fn as_lines(kinds: &[Examined], chosen: Option<&str>) -> Vec<Line> {
    let mut lines = Vec::new();
    tell(&mut lines, &program());
    for kind in kinds {
        let works = if worst(kind) == Level::Missing { "does not work here" } else { "works" };
        lines.push(Line::blank());
        lines.push(Line::new(Style::Bold, kind.name).and(Style::Plain, format!(": {works}")));
        for finding in &kind.findings {
            tell(&mut lines, finding);
        }
    }
    lines.push(Line::blank());
    lines.push(match chosen {
        Some(name) => Line::plain("A server with these options uses: ").and(Style::Bold, name),
        None => {
            Line::new(Style::Failure, "A server with these options does not start: its kind of boxes does not work.")
        }
    });
    lines
}

fn tell(lines: &mut Vec<Line>, finding: &Finding) {
    let style = match finding.level {
        Level::Ok => Style::Added,
        Level::Warning => Style::Warning,
        Level::Missing => Style::Failure,
    };
    let level = format!("  {:<LEVEL$}", word(finding.level));
    let text = format!("{:<SUBJECT$} {}", finding.subject, finding.detail);
    lines.push(Line::new(style, level).and(Style::Plain, text));
    if let Some(advice) = &finding.advice {
        lines.push(Line::new(Style::Dim, format!("{:width$}→ {advice}", "", width = 2 + LEVEL)));
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Missing => "missing",
    }
}
