//! A shell on a terminal, and the command that runs in it.
//!
//! The shell's own functions (`scripts/`) say when a command begins and how it ended, with marks that the parser takes out
//! of the output. So nothing is guessed from prompts, and any text can be a command: it travels in a file, and only a
//! short line that runs it is typed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use indexmap::IndexMap;
use longshore_protocol::Secret;
use longshore_workspace::{Command, Error, ExitStatus, Parents, Signal, Terminal, TerminalSize, Workspace};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    capture::{Capture, Store},
    parser::{End, Mark, Parser, Piece},
    settings::Settings,
};

/// How long what runs in a shell may take to end when it is told to.
const GOODBYE: Duration = Duration::from_millis(300);

/// Wide enough for most lines, so that programs do not break them.
const SIZE: TerminalSize = TerminalSize { rows: 200, columns: 256 };

/// How long a shell may take to start, start files and all.
const START: Duration = Duration::from_secs(30);

/// How long a shell may take to begin a command before it is taken for busy, not dead.
const BEGIN: Duration = Duration::from_secs(1);

/// How long nothing is said when all was said for now, and how long it may take until then.
const LULL: Duration = Duration::from_millis(2);
const CATCH_UP: Duration = Duration::from_millis(50);

/// How long the rest of the output may take after the shell ended.
const DRAIN: Duration = Duration::from_millis(200);

/// What the names of the private folders of shells begin with.
const FOLDER: &str = ".terminal-";

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Takes back what was typed of a line.
const KILL_LINE: u8 = 0x15;

const LAUNCH: &str = include_str!("scripts/launch.sh");
const START_BASH: &str = include_str!("scripts/start.bash");
const START_SH: &str = include_str!("scripts/start.sh");

/// What an interactive bash would read; it reads the system-wide file of its own accord.
const USER_START: &str = "if [ -r ~/.bashrc ]; then . ~/.bashrc; fi\n";

/// A running shell. Dropping it kills everything in it.
pub(super) struct Shell {
    terminal: Terminal,
    parser: Parser,
    folder: PathBuf,
    /// The process whose marks count; a shell inside this one may repeat them.
    pid: String,
    seq: u64,
    phase: Phase,
    /// Output since the last report.
    pub(super) capture: Capture,
    /// What that output begins with if the terminal shows what was typed to the command.
    input_echo: String,
    /// What was typed and not yet taken by the terminal.
    typed: Vec<u8>,
    /// Keys were pressed that may be the beginning of a line.
    has_loose_keys: bool,
    /// The line that the terminal shows when a command is typed.
    echo: String,
    /// Whether the user's start file was read.
    pub(super) has_user_start: bool,
    /// How the last command ended, until somebody asks.
    ended: Option<Ended>,
    exit: Option<ExitStatus>,
    /// Why how it ended cannot be known.
    lost: Option<String>,
    is_closed: bool,
    pub(super) facts: Facts,
    buffer: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for a command.
    Prompt,
    /// A command was typed.
    Typed,
    /// It runs.
    Running,
}

/// What is known about the shell.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) user: Option<String>,
    pub(super) host: Option<String>,
    pub(super) folder: Option<String>,
    pub(super) python: Option<String>,
}

/// A command that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) exit_code: i32,
    pub(super) background: Option<i32>,
    pub(super) capture: Capture,
    /// Whether it was run at all.
    has_begun: bool,
    /// The shell ended with it.
    pub(super) is_shell_gone: bool,
    /// Why it is not known how it ended: the place was lost, and the command with it.
    pub(super) lost: Option<String>,
}

impl Ended {
    /// What became of the command.
    pub(super) fn in_words(&self) -> String {
        match &self.lost {
            None => format!("completed with exit code {}", self.exit_code),
            Some(reason) => format!("did not complete; it was lost with the place it ran in: {reason}"),
        }
    }
}

/// Why waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// No command runs any more.
    Done,
    /// There was no output for too long.
    Quiet,
    /// The time is up.
    Deadline,
    /// Nobody waits any more.
    Cancelled,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patience {
    /// How long without output.
    pub(super) quiet: Option<Duration>,
    /// Until when in any case.
    pub(super) deadline: Option<Instant>,
}

impl Patience {
    /// When waiting ends if there is no output after `last_output`.
    fn end(self, last_output: Instant) -> Option<Instant> {
        let quiet = self.quiet.and_then(|quiet| last_output.checked_add(quiet));
        quiet.into_iter().chain(self.deadline).min()
    }
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("seq", &self.seq).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Shell {
    /// Starts a shell and waits until it takes commands. If the user's start files do not let it, starts without them.
    /// `None` if cancelled.
    pub(super) async fn start(
        store: Store<'_>,
        settings: &Settings,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, String> {
        match Self::try_start(store, settings, USER_START, cancel).await {
            Err(_) => {
                // What the files print is not for a log.
                tracing::warn!("the shell does not start with the user's start files");
                Self::try_start(store, settings, "", cancel).await
            }
            started => started,
        }
    }

    /// Removes what shells left behind whose server was killed. To be called when there is no shell.
    pub(super) async fn sweep(store: Store<'_>) {
        let entries = store.workspace.list(store.folder).await.unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.name.as_encoded_bytes().starts_with(FOLDER.as_bytes())) {
            // Whatever is wrong with it, it is only in the way.
            let _ = store.workspace.remove(&store.folder.join(&entry.name)).await;
        }
    }

    async fn try_start(
        store: Store<'_>,
        settings: &Settings,
        user_start: &str,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, String> {
        let nonce = Uuid::new_v4().simple().to_string();
        let folder = store.folder.join(format!("{FOLDER}{}", Uuid::new_v4().simple()));
        let fill =
            |script: &str| script.replace("@NONCE@", &nonce).replace("@FOLDER@", &quoted(&folder.to_string_lossy()));
        let command = Command::new("sh")
            .args(["-c", LAUNCH, "sh"])
            .arg(&folder)
            .arg(user_start.to_owned() + &fill(START_BASH))
            .arg(fill(START_SH))
            .arg(settings.shell.as_deref().unwrap_or(Path::new("")))
            .env("TERM", "xterm-256color")
            .envs(settings.env.iter().map(|(name, value)| (name, value)));
        let terminal = store.workspace.open_terminal(command, SIZE).await.map_err(|error| error.to_string())?;
        let mut shell = Self {
            terminal,
            parser: Parser::new(&nonce),
            folder,
            pid: String::new(),
            seq: 0,
            phase: Phase::Typed,
            capture: Capture::default(),
            input_echo: String::new(),
            typed: Vec::new(),
            has_loose_keys: false,
            echo: String::new(),
            has_user_start: !user_start.is_empty(),
            ended: None,
            exit: None,
            lost: None,
            is_closed: false,
            facts: Facts::default(),
            buffer: vec![0; CHUNK].into(),
        };
        let patience = Patience { quiet: None, deadline: Some(Instant::now() + START) };
        let reason = match shell.wait(store, patience, cancel).await {
            Waited::Cancelled => {
                shell.end(store.workspace).await;
                return Ok(None);
            }
            Waited::Done if !shell.is_closed => {
                // What the start files print belongs to no command.
                shell.ended = None;
                return Ok(Some(shell));
            }
            Waited::Done => "The shell ended while it started",
            Waited::Deadline | Waited::Quiet => "The shell was not ready after 30 seconds",
        };
        let capture = shell.ended.take().map_or_else(|| std::mem::take(&mut shell.capture), |ended| ended.capture);
        let output = crate::truncate::middle(&capture.finish(store).await, 2000, "\n…\n");
        shell.end(store.workspace).await;
        Err(if output.is_empty() { format!("{reason}.") } else { format!("{reason}. It said:\n{output}") })
    }

    /// Whether a command runs.
    pub(super) fn is_running(&self) -> bool {
        self.phase != Phase::Prompt
    }

    /// Whether the shell is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.is_closed
    }

    /// Whether a command ended and nobody was told yet.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// How the last command ended, if nobody was told yet.
    pub(super) fn take_ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    /// Runs a command; `secrets` become variables first.
    pub(super) async fn run(
        &mut self,
        workspace: &dyn Workspace,
        command: &str,
        secrets: &IndexMap<String, Secret>,
    ) -> Result<(), Error> {
        let exports = exports(secrets);
        if !exports.is_empty() {
            put(workspace, &self.folder, "secrets", &exports).await?;
        }
        put(workspace, &self.folder, "command", &format!("{command}\n")).await?;
        self.seq += 1;
        let seq = self.seq;
        let with_secrets = if exports.is_empty() { "" } else { " secrets" };
        // The space keeps the line out of a history. The end is said here and not only at the prompt, because a command
        // can take the prompt away. The braces keep it out of the trace of a shell that traces; at the beginning of the
        // line a bash whose last command had a syntax error would not know them.
        let line = format!(
            " __longshore_begin {seq}{with_secrets};eval \"$__longshore_text\";{{ __longshore_end; }} 2>/dev/null\n"
        );
        self.phase = Phase::Typed;
        self.typed.clear();
        if std::mem::take(&mut self.has_loose_keys) {
            self.typed.push(KILL_LINE);
        }
        self.typed.extend_from_slice(line.as_bytes());
        self.echo = line;
        Ok(())
    }

    /// Types a line to the running command.
    pub(super) fn type_line(&mut self, text: &str) {
        if self.capture.is_empty() {
            self.input_echo = format!("{text}\n");
        }
        // The key, which is what programs that read keys wait for; for others the terminal makes a line end of it.
        self.typed.extend(text.replace('\n', "\r").bytes());
        self.typed.push(b'\r');
    }

    /// Presses keys.
    pub(super) fn press(&mut self, keys: &[u8]) {
        // Some keys end a line, or make the terminal forget it.
        self.has_loose_keys = !matches!(keys, b"\r" | b"\x03" | b"\x04" | b"\x1a" | b"\x1c");
        self.typed.extend_from_slice(keys);
    }

    /// The output since the last report.
    pub(super) fn take_output(&mut self) -> Capture {
        let mut output = std::mem::take(&mut self.capture);
        output.remove_start(&std::mem::take(&mut self.input_echo));
        output
    }

    /// Waits until the command that was typed begins; says whether it does, or at least may later. It never does if the
    /// shell was at its end already.
    pub(super) async fn begins(&mut self, store: Store<'_>, cancel: &CancellationToken) -> bool {
        let later = tokio::time::sleep(BEGIN);
        tokio::pin!(later);
        while self.phase == Phase::Typed {
            self.capture.spill(store).await;
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                _ = self.pump() => {}
                () = &mut later => break,
            }
        }
        self.ended.as_ref().is_none_or(|ended| ended.has_begun)
    }

    /// Takes in what the command has said up to now, to learn of an end that nobody waited for.
    pub(super) async fn catch_up(&mut self, store: Store<'_>) {
        let enough = Instant::now() + CATCH_UP;
        while self.is_running() && Instant::now() < enough && timeout(LULL, self.pump()).await == Ok(true) {
            self.capture.spill(store).await;
        }
    }

    /// Waits for the end of the running command.
    pub(super) async fn wait(&mut self, store: Store<'_>, patience: Patience, cancel: &CancellationToken) -> Waited {
        let mut last_output = Instant::now();
        let end = patience.end(last_output);
        let alarm = sleep_until(end.unwrap_or(last_output));
        tokio::pin!(alarm);
        while self.is_running() {
            // Not below: a file that is being written must not be dropped.
            self.capture.spill(store).await;
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Waited::Cancelled,
                is_output = self.pump() => if is_output {
                    last_output = Instant::now();
                },
                // The alarm is late rather than set anew for every output.
                () = &mut alarm, if end.is_some() => {
                    let now = Instant::now();
                    if patience.deadline.is_some_and(|deadline| deadline <= now) {
                        return Waited::Deadline;
                    }
                    match patience.end(last_output) {
                        Some(end) if end > now => alarm.as_mut().reset(end),
                        _ => return Waited::Quiet,
                    }
                }
            }
        }
        Waited::Done
    }

    /// Waits until something can be read or written, and does it; says whether there was output. Nothing is lost if the
    /// future is dropped. The output is to be spilled afterwards.
    pub(super) async fn pump(&mut self) -> bool {
        if self.is_closed {
            return false;
        }
        let Terminal { output, input, control } = &mut self.terminal;
        let count = tokio::select! {
            biased;
            written = input.write(&self.typed), if !self.typed.is_empty() => {
                match written {
                    Ok(count @ 1..) => drop(self.typed.drain(..count)),
                    // Nobody reads any more; the end of the output says so too.
                    _ => self.typed.clear(),
                }
                return false;
            }
            read = output.read(&mut self.buffer) => read.unwrap_or_else(|cause| {
                self.lost = Some(cause.to_string());
                0
            }),
            status = control.wait(), if self.exit.is_none() && self.lost.is_none() => {
                match status {
                    Ok(status) => self.exit = Some(status),
                    Err(cause) => self.lost = Some(cause.to_string()),
                }
                return false;
            }
            // What the shell left running may hold the terminal open.
            () = tokio::time::sleep(DRAIN), if self.exit.is_some() || self.lost.is_some() => 0,
        };
        if count == 0 {
            self.close().await;
            return false;
        }
        let Self { parser, buffer, .. } = self;
        let mut pieces = Vec::new();
        parser.feed(&buffer[..count], &mut |piece| pieces.push(piece));
        for piece in pieces {
            self.take_in(piece);
        }
        true
    }

    fn take_in(&mut self, piece: Piece) {
        let mark = match piece {
            Piece::Text(text) => return self.capture.push(&text),
            Piece::Mark(mark) => mark,
        };
        let Mark { shell, seq, end } = mark;
        if self.pid.is_empty() {
            self.pid.clone_from(&shell);
        }
        if shell != self.pid {
            return;
        }
        let is_current = seq == self.seq && self.is_running();
        match end {
            None if is_current => {
                self.phase = Phase::Running;
                self.remove_echo();
            }
            None => {}
            Some(end) => {
                if is_current {
                    self.phase = Phase::Running;
                    self.remove_echo();
                    self.ended(end.exit_code, end.background, false, None);
                }
                self.facts.learn(end);
            }
        }
    }

    fn remove_echo(&mut self) {
        let echo = std::mem::take(&mut self.echo);
        if !echo.is_empty() {
            self.capture.remove_last(&echo);
            // A shell that traces its commands shows it once more.
            self.capture.remove_line(&format!("__longshore_begin {}", self.seq));
        }
    }

    fn ended(&mut self, exit_code: i32, background: Option<i32>, is_shell_gone: bool, lost: Option<String>) {
        let has_begun = self.phase == Phase::Running;
        self.phase = Phase::Prompt;
        // What the command did not read must not be read by the shell.
        self.typed.clear();
        let capture = self.take_output();
        self.ended = Some(Ended { exit_code, background, capture, has_begun, is_shell_gone, lost });
    }

    async fn close(&mut self) {
        if self.exit.is_none() {
            // A shell that closed its terminal and lives on is of no use.
            self.exit = timeout(DRAIN, self.terminal.control.wait()).await.ok().and_then(Result::ok);
        }
        self.is_closed = true;
        if self.is_running() {
            let code = match self.exit {
                Some(ExitStatus::Exited(code)) => code,
                Some(ExitStatus::Signaled(signal)) => 128 + signal,
                None => -1,
            };
            self.remove_echo();
            let lost = self.lost.take().filter(|_| self.exit.is_none());
            self.ended(code, None, true, lost);
        }
    }

    /// Ends the running command: asks at first, then less kindly. The shell may go with it.
    pub(super) async fn interrupt(&mut self, store: Store<'_>) {
        // A shell that runs one short program after the other can miss a signal, and a program may need some time after one.
        const STEPS: [(Signal, u64); 7] = [
            (Signal::Interrupt, 300),
            (Signal::Interrupt, 200),
            (Signal::Interrupt, 200),
            (Signal::Interrupt, 200),
            (Signal::Interrupt, 200),
            (Signal::Terminate, 1000),
            (Signal::Kill, 1000),
        ];
        let never = CancellationToken::new();
        self.typed.clear();
        for (signal, milliseconds) in STEPS {
            if let Err(error) = self.terminal.control.signal_foreground(signal).await {
                tracing::warn!(%error, "a command could not be interrupted");
            }
            let deadline = Some(Instant::now() + Duration::from_millis(milliseconds));
            if self.wait(store, Patience { quiet: None, deadline }, &never).await == Waited::Done {
                break;
            }
        }
        self.ended = None;
        self.capture = Capture::default();
    }

    /// Ends the shell, all that runs in it, and its folder. What runs is told first: a program that is killed while it
    /// holds a lock leaves it to the next shell.
    pub(super) async fn end(self, workspace: &dyn Workspace) {
        let Self { mut terminal, folder, .. } = self;
        let goodbye = async {
            let _ = terminal.control.signal_foreground(Signal::Hangup).await;
            let _ = terminal.control.signal(Signal::Hangup).await;
            let _ = terminal.control.wait().await;
        };
        let _ = timeout(GOODBYE, goodbye).await;
        drop(terminal);
        match workspace.remove(&folder).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%error, "the private folder of a terminal could not be removed"),
        }
    }
}

/// Writes a file for the shell to read into its private folder, which is made anew if somebody cleaned it up.
async fn put(workspace: &dyn Workspace, folder: &Path, name: &str, content: &str) -> Result<(), Error> {
    match write(workspace, &folder.join(name), content).await {
        Err(Error::NotFound { .. }) => {
            let mut process = workspace.spawn(Command::new("mkdir").args(["-p", "-m", "700"]).arg(folder)).await?;
            process.control.wait().await?;
            write(workspace, &folder.join(name), content).await
        }
        written => written,
    }
}

async fn write(workspace: &dyn Workspace, path: &Path, content: &str) -> Result<(), Error> {
    let mut writer = workspace.write(path, Parents::Required).await?;
    writer.write(content.as_bytes()).await?;
    writer.finish().await
}

impl Facts {
    fn learn(&mut self, end: End) {
        let known = |text: String| Some(text).filter(|text| !text.is_empty());
        self.user = known(end.user).or_else(|| self.user.take());
        self.host = known(end.host).or_else(|| self.host.take());
        // Only the shell's last word on a command says these two.
        if let Some(folder) = end.folder {
            self.folder = Some(folder);
            self.python = known(end.python);
        }
    }
}

/// What sets variables in a shell.
fn exports(variables: &IndexMap<String, Secret>) -> String {
    let is_name = |name: &str| {
        !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let named = variables.iter().filter(|(name, _)| is_name(name));
    named.fold(String::new(), |text, (name, value)| text + &format!("export {name}={}\n", quoted(value.expose())))
}

/// A word of any shell that means exactly `text`; zero bytes cannot be said.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_can_be_exported_and_only_names_are() {
        let variables = [("A_1", "it's $x `y` \\ \n\t"), ("1A", "no"), ("A-B", "no"), ("", "no"), ("A;rm", "no")]
            .map(|(name, value)| (name.to_owned(), Secret::new(value)));
        assert_eq!(exports(&IndexMap::from(variables)), "export A_1='it'\\''s $x `y` \\ \n\t'\n");
    }
}
