//! The `longshore` program.

mod cli;
mod guard;
mod logging;
mod parts;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::arguments(std::env::args_os()));
    let result = match cli.command {
        Command::Serve(options) => serve::serve(options),
        Command::Openapi => print(&longshore_server::Server::openapi()),
        Command::Guard { marker } => guard::guard(&marker),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Writes a text to standard output.
fn print(text: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    output.write_all(text)?;
    output.write_all(b"\n")?;
    Ok(())
}
