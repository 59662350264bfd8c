//! The command line.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

/// Names under which the program behaves as `longshore serve`: those of the official server.
const SERVER_NAMES: [&str; 2] = ["agent-server", "openhands-agent-server"];

/// Runs software agents for many users.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve conversations over HTTP and WebSocket.
    Serve(Serve),
    /// Print the OpenAPI document of the server.
    Openapi,
    /// Wait for the end of a server, then end what it started.
    #[command(hide = true)]
    Guard {
        /// What the server's children carry.
        marker: String,
    },
}

/// Options of `longshore serve`. Each has a default that suits a single user on this machine.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on. Without it: 0.0.0.0 if a session key is set, else 127.0.0.1.
    #[arg(long)]
    pub(crate) host: Option<String>,

    /// Port to listen on.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) data: Data,

    /// Listen beyond this machine although no session key is set: everybody who reaches the port can run commands.
    #[arg(long, env = "LONGSHORE_INSECURE_NO_AUTH")]
    pub(crate) insecure_no_auth: bool,

    /// Conversations that may run at the same time.
    #[arg(long, env = "OH_MAX_CONCURRENT_RUNS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_concurrent_runs: u32,

    /// Seconds after which a conversation that nobody uses leaves memory.
    #[arg(long, env = "OH_CONVERSATION_IDLE_TTL_SECONDS", default_value_t = 1200, value_name = "SECONDS")]
    pub(crate) idle_ttl: u64,

    /// Web origin that may call the server from a browser, besides localhost. May be repeated.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub(crate) cors_origins: Vec<String>,

    /// Log format: json, or text. Without it: text on a terminal, else json.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// Ignored: one process uses all cores.
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,

    /// Ignored: there is nothing to reload.
    #[arg(long)]
    pub(crate) reload: bool,

    /// Ignored: custom tools in Python are not supported.
    #[arg(long, value_name = "MODULES")]
    pub(crate) import_modules: Option<String>,

    /// Ignored: custom tools in Python are not supported.
    #[arg(long, value_name = "PATHS")]
    pub(crate) extra_python_path: Option<String>,

    /// Say whether a browser can be started, and exit.
    #[arg(long)]
    pub(crate) check_browser: bool,
}

/// Where things are kept and what agents get.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Folder for everything durable. Without it: $LONGSHORE_DATA_DIR, else $OH_PERSISTENCE_DIR, else
    /// $XDG_DATA_HOME/longshore, else ~/.local/share/longshore.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Folder of scripted and recorded models: scripted/FILE, record/FILE+MODEL and replay/FILE name files in it.
    #[arg(long, env = "LONGSHORE_MODELS_DIR", value_name = "DIR")]
    pub(crate) models_dir: Option<PathBuf>,

    /// Environment variable that agents' commands may see, besides PATH, HOME, LANG and the like. May be repeated.
    #[arg(long = "pass-env", value_name = "NAME")]
    pub(crate) pass_env: Vec<String>,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The arguments, with `serve` added if the program was started under a name of the official server.
pub(crate) fn arguments(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    if name.is_some_and(|name| SERVER_NAMES.contains(&name)) {
        arguments.insert(1, "serve".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::parse_from(arguments(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_official_names_and_flags_mean_serve() {
        let line = "/usr/bin/agent-server --host 0.0.0.0 --port 60000 --workers 4 --reload --import-modules a,b \
                    --extra-python-path x:y";
        let Command::Serve(serve) = parse(&line.replace("  ", "")).command else { panic!("not serve") };
        assert_eq!((serve.host.as_deref(), serve.port, serve.workers), (Some("0.0.0.0"), 60000, Some(4)));
    }
}
