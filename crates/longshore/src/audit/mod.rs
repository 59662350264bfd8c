//! `longshore audit`: the log of who did what, also beside a server that writes to it.

mod show;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use longshore_store::{AuditLog, Keys};

use crate::settings::Environment;

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check that no record was changed, added or taken away.
    #[command(after_help = "Exit code: 0 if all records fit, 1 if one does not, or the log cannot be read.")]
    Verify(verify::Verify),
    /// Print records, the latest last.
    Show(show::Show),
}

/// Where the log is.
#[derive(Debug, Args)]
struct Place {
    /// Folder of everything durable, as for `longshore serve`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn open(self) -> Result<AuditLog> {
        let environment = Environment::of_process();
        let data_dir = environment.data_dir(self.data_dir)?;
        let keys = Keys::load(&data_dir, environment.secret_key(), environment.previous_secret_keys()?)
            .context("the key that signs the end of the log cannot be had")?;
        AuditLog::open(&data_dir.join("longshore.db"), keys)
            .with_context(|| format!("the audit log in {} cannot be opened", data_dir.display()))
    }
}

/// Does what the command line says.
pub(crate) fn audit(command: Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("the runtime cannot be started")?;
    match command {
        Command::Verify(options) => runtime.block_on(verify::verify(options)),
        Command::Show(options) => runtime.block_on(show::show(options)),
    }
}
