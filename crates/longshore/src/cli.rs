//! The command line.

use std::{
    ffi::{OsStr, OsString},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use longshore_protocol::sandbox::SandboxOptions;

use crate::{
    accounts::{KeyCommand, UserCommand},
    config::{Config, WhenStopped},
};

/// Names under which the program behaves as `longshore serve`: those of the official server.
const SERVER_NAMES: [&str; 2] = ["agent-server", "openhands-agent-server"];

/// Runs software agents for many users.
#[derive(Debug, Parser)]
#[command(name = "longshore", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve conversations over HTTP and WebSocket.
    Serve(Serve),
    /// Let an agent work in a folder of this machine, without a server.
    #[command(after_long_help = RUN_HELP, after_help = "More, with examples and exit codes: longshore run --help")]
    Run(Run),
    /// See an agent work: starts a server, gives an agent a small task in a temporary folder, and shows what happens.
    Demo(Demo),
    /// Say which boxes this machine can make, what they lack, and what to do about it.
    #[command(after_help = "Exit code: 0 if the boxes that a server with these options would use work, else 1.")]
    Doctor(Doctor),
    /// Manage the users of a server on this machine.
    User(UserCommand),
    /// Manage the keys of users.
    Key(KeyCommand),
    /// Read and check the log of who did what.
    #[command(subcommand)]
    Audit(crate::audit::Command),
    /// Check configuration files, and say what can stand in them.
    #[command(subcommand)]
    Config(crate::config::command::Command),
    /// Print the OpenAPI document of the server.
    Openapi,
    /// Wait for the end of a server, then end what it started.
    #[command(hide = true)]
    Guard {
        /// What the server's children carry.
        marker: String,
    },
    /// Serve a box from its inside.
    #[command(hide = true)]
    Boxd(Boxd),
}

/// Options of `longshore boxd`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct Boxd {
    /// Folder that commands start in.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) working_dir: PathBuf,

    /// Port on the box's loopback addresses whose connections the server gets.
    #[arg(long, value_name = "N")]
    pub(crate) proxy_port: Option<u16>,

    /// Listen on the socket that is this inherited descriptor.
    #[arg(long, value_name = "N", group = "where")]
    pub(crate) fd: Option<i32>,

    /// Listen on a socket at this path, or with this @NAME.
    #[arg(long, value_name = "ADDRESS", group = "where")]
    pub(crate) socket: Option<OsString>,

    /// Serve nothing, but pass standard input and output to the socket at this path, or with this @NAME.
    #[arg(long, value_name = "ADDRESS", group = "where", conflicts_with = "proxy_port")]
    pub(crate) connect: Option<OsString>,
}

/// Options of `longshore doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) sandbox: SandboxFlags,

    /// Print the findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `longshore serve`. Each has a default that suits a single user on this machine.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on. Without it: 0.0.0.0 if a session key is set, else 127.0.0.1.
    #[arg(long)]
    pub(crate) host: Option<String>,

    /// Port to listen on. Without it: 8000.
    #[arg(long)]
    pub(crate) port: Option<u16>,

    #[command(flatten)]
    pub(crate) data: DataFlags,

    #[command(flatten)]
    pub(crate) sandbox: SandboxFlags,

    /// Listen beyond this machine although no session key is set: everybody who reaches the port can run commands.
    /// Also with LONGSHORE_INSECURE_NO_AUTH=1.
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,

    /// Let several users work on this machine itself, without boxes: each can read and change what is the others' and the
    /// server's.
    #[arg(long)]
    pub(crate) insecure_shared_machine: bool,

    /// Answer to any host name although no session key is set: a web page that a user of this machine opens can then reach
    /// the server. Without it: addresses in digits and localhost.
    #[arg(long)]
    pub(crate) any_host: bool,

    /// Conversations that may run at the same time; more wait in a queue. Without it: 512.
    #[arg(long, env = "OH_MAX_CONCURRENT_RUNS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_concurrent_runs: Option<u32>,

    /// Seconds after which a conversation that nobody uses leaves memory.
    #[arg(long, env = "OH_CONVERSATION_IDLE_TTL_SECONDS", default_value_t = 1200, value_name = "SECONDS")]
    pub(crate) idle_ttl: u64,

    /// Web origin that may call the server from a browser, besides localhost. May be repeated.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub(crate) cors_origins: Vec<String>,

    /// Log format: json, or text. Without it: text on a terminal, else json.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// Threads that serve. Without it: one for each core.
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,

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

/// Which boxes conversations work in.
#[derive(Debug, Default, Args)]
pub(crate) struct SandboxFlags {
    /// Configuration file (TOML). Flags come before it.
    #[arg(long, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where agents and clients work: local (this machine, no isolation), bubblewrap, docker or docker:IMAGE. Without it, or
    /// with auto: local in a container, else docker if an engine answers, else bubblewrap if it works, else local.
    #[arg(long, env = "LONGSHORE_SANDBOX", value_name = "KIND", value_parser = crate::config::sandbox_flag)]
    pub(crate) sandbox: Option<SandboxOptions>,

    /// Folder of this machine that every box sees: HOST:PATH or HOST:PATH:ro. May be repeated.
    #[arg(long = "sandbox-volume", value_name = "VOLUME")]
    pub(crate) volumes: Vec<String>,

    /// What happens to boxes when the server stops. Without it: they go on, and the next server finds them.
    #[arg(long = "sandbox-on-shutdown", value_name = "WHAT")]
    pub(crate) on_shutdown: Option<WhenStopped>,
}

impl SandboxFlags {
    /// The configuration file with the flags over it.
    pub(crate) fn config(self) -> anyhow::Result<Config> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        config.sandbox = self.sandbox.unwrap_or_default().or(&config.sandbox);
        config.lifecycle.volumes.extend(self.volumes);
        config.lifecycle.on_shutdown = self.on_shutdown.or(config.lifecycle.on_shutdown);
        Ok(config)
    }
}

/// What stands below `longshore run --help`.
const RUN_HELP: &str = "\
Examples:
  longshore run \"make the tests pass\"
  git diff | longshore run --confirm never -
  longshore run \"now update the changelog\" --resume
  longshore run --json \"list the public functions\" > events.jsonl

Keys:
  Ctrl-C pauses after the step that is under way, a second Ctrl-C stops at once, a third ends the program.

Exit codes:
  0    the agent finished
  1    the run failed
  2    the command line makes no sense, or there is no model
  3    the agent is not done: its actions wait for an answer, it went in circles, or --max-iterations was reached
  130  paused by Ctrl-C
  143  ended by SIGTERM or SIGHUP";

/// Options of `longshore run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What the agent is to do; `-` reads it from standard input, and so does leaving it out unless that is a terminal.
    pub(crate) task: Option<String>,

    /// Folder to work in. Without it: the current one.
    #[arg(long, short = 'C', value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,

    /// Go on with an earlier run: its id or the beginning of it. Without an id: the latest run in this folder. A task is then
    /// one more message.
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub(crate) resume: Option<String>,

    /// Where the agent works: local (this machine), bubblewrap, docker or docker:IMAGE. In a box the folder is at
    /// /workspace and nothing else of this machine is there. Without it: local.
    #[arg(long, value_name = "KIND", value_parser = crate::config::sandbox_flag)]
    pub(crate) sandbox: Option<SandboxOptions>,

    #[command(flatten)]
    pub(crate) model: ModelFlags,

    /// Which actions wait for your answer. Without it: risky if standard input is a terminal, else never.
    #[arg(long, value_name = "WHEN")]
    pub(crate) confirm: Option<Confirm>,

    /// Model calls that the agent may make before it must stop. Without it: 500.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_iterations: Option<u64>,

    /// Print stored events and nothing else, each as one line of JSON.
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print the agent's answer and nothing else.
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// When the agent is done, ask for the next message, until there is none.
    #[arg(long, short)]
    pub(crate) interactive: bool,

    #[command(flatten)]
    pub(crate) data: DataFlags,
}

/// Which model, and where it is.
#[derive(Debug, Args)]
pub(crate) struct ModelFlags {
    /// Model, with its provider: openai/NAME, anthropic/NAME, openrouter/NAME, … Without it: $LLM_MODEL.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Address of the model's API. Without it: $LLM_BASE_URL, else the provider's own.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,

    /// Environment variable that holds the key of the model's API. Without it: LLM_API_KEY.
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
}

/// Which actions wait for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Confirm {
    /// None.
    Never,
    /// Those that the model calls risky, or whose risk it does not tell.
    Risky,
    /// All.
    Always,
}

/// Options of `longshore demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Port of the demo's server. Without it: one that is free.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,

    /// Keep the server running afterwards, until Ctrl-C.
    #[arg(long, conflicts_with = "no_keep")]
    pub(crate) keep: bool,

    /// Stop the server afterwards, without asking.
    #[arg(long)]
    pub(crate) no_keep: bool,

    #[command(flatten)]
    pub(crate) model: ModelFlags,
}

/// Where things are kept and what agents get.
#[derive(Debug, Args)]
pub(crate) struct DataFlags {
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

/// The program in a command line that a person can copy: as it was called.
pub(crate) fn program() -> String {
    std::env::args().next().map_or_else(|| "longshore".to_owned(), |name| quoted(&name))
}

/// A text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
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
        assert_eq!(
            (serve.host.as_deref(), serve.port, serve.workers),
            (Some("0.0.0.0"), Some(60000), NonZeroUsize::new(4))
        );
    }

    #[test]
    fn a_word_of_a_shell_stays_one_word() {
        assert_eq!(["/a/b-c.d", "a b", "it's", ""].map(quoted), ["/a/b-c.d", "'a b'", r"'it'\''s'", "''"]);
    }
}
