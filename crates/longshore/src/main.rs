//! The `longshore` program.

mod accounts;
#[cfg(feature = "acme")]
mod acme;
mod audit;
mod boxd;
mod boxes;
mod cli;
mod config;
mod demo;
mod deployment;
mod doctor;
mod failure;
mod guard;
mod logging;
mod model;
mod parts;
mod progress;
mod render;
mod run;
mod serve;
mod settings;
mod signals;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::arguments(std::env::args_os()));
    let code = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match cli.command {
        Command::Serve(options) => code(serve::serve(options)),
        Command::Run(options) => run::run(options),
        Command::Demo(options) => demo::demo(options),
        Command::Doctor(options) => doctor::doctor(options),
        Command::User(command) => code(accounts::user(command)),
        Command::Key(command) => code(accounts::key(command)),
        Command::Audit(command) => audit::audit(command),
        Command::Config(command) => code(config::command::config(command)),
        Command::Openapi => code(print(&longshore_server::Server::openapi())),
        Command::Guard { marker } => {
            guard::guard(&marker);
            Ok(ExitCode::SUCCESS)
        }
        Command::Boxd(options) => code(boxd::boxd(options)),
    };
    result.unwrap_or_else(|error| failure::complain(&error))
}

/// Writes a text to standard output.
fn print(text: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    output.write_all(text)?;
    output.write_all(b"\n")?;
    Ok(())
}
