//! `longshore config`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::{Config, reference};
use crate::settings::Environment;

/// What to do about configuration files.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file without starting a server.
    #[command(after_help = "Exit code: 0 if a server would take the file, else 1.")]
    Check {
        /// The file (TOML).
        file: PathBuf,
    },
    /// Print the reference of all that can stand in a configuration file, as Markdown.
    Reference,
    /// Print the JSON Schema of configuration files, for editors.
    Schema,
}

/// Does what the command line says.
pub(crate) fn config(command: Command) -> Result<()> {
    match command {
        Command::Check { file } => {
            let checked = Config::read(&file)?.check(&Environment::of_process());
            checked.with_context(|| format!("the configuration file {}", file.display()))?;
            crate::print(format!("{} is a configuration that a server takes", file.display()).as_bytes())
        }
        Command::Reference => crate::print(reference::markdown().trim_end().as_bytes()),
        Command::Schema => crate::print(format!("{:#}", reference::schema()).as_bytes()),
    }
}
