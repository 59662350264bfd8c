//! The task that owns a terminal's shell and does one request after the other (contract: agent §5.3).

use std::time::Duration;

use longshore_protocol::{
    Content,
    action::TerminalAction,
    observation::{CommandMetadata, TerminalObservation},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    capture::{Capture, Store},
    keys,
    settings::{Settings, seconds},
    shell::{Ended, Patience, Shell, Waited},
};
use crate::{Call, Context, Error};

const CONTINUED: &str = "[Below is the output of the previous command.]\n";

const NEXT: &str = "It keeps running. Send an empty command to read on, text or a key with is_input=true to answer it, C-c to \
    stop it; or set a longer timeout next time.";

const NEW_SHELL: &str = "[The shell had ended. This is a new one: variables and the folder are as at the start.]\n";

/// How long nothing is read from a shell that floods its terminal while nobody looks: it is slowed down, not stopped.
const PAUSE: Duration = Duration::from_millis(10);

const RESET: &str =
    "Terminal session has been reset. All previous environment variables and session state have been cleared.";

/// What can be asked of a session.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) action: TerminalAction,
    pub(super) call: Call,
    pub(super) reply: oneshot::Sender<Result<TerminalObservation, Error>>,
}

/// A shell and what it needs to be started.
#[derive(Debug)]
pub(super) struct Session {
    context: Context,
    settings: Settings,
    shell: Option<Shell>,
    /// What the model is to be told before the output of the next command.
    notes: String,
    is_swept: bool,
}

impl Session {
    pub(super) fn new(context: Context, settings: Settings) -> Self {
        Self { context, settings, shell: None, notes: String::new(), is_swept: false }
    }

    /// Does what is asked until `closing` fires or nobody is left to ask; then the shell ends. When `leaving` fires it goes
    /// on.
    pub(super) async fn serve(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        closing: CancellationToken,
        leaving: CancellationToken,
    ) {
        loop {
            let Request { action, call, reply } = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = leaving.cancelled() => {
                    // To drop it would end it. What it takes goes with this process.
                    std::mem::forget(self.shell.take());
                    return;
                }
                request = requests.recv() => match request {
                    Some(request) => request,
                    None => break,
                },
                () = self.idle() => {
                    self.spill().await;
                    continue;
                }
            };
            let Call { cancel, secrets } = call;
            let call = Call { cancel: closing.child_token(), secrets };
            let forward = async {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = leaving.cancelled() => {}
                }
                call.cancel.cancel();
                std::future::pending().await
            };
            let done = tokio::select! {
                biased;
                done = self.perform(action, &call) => done,
                never = forward => never,
            };
            // The caller may have gone.
            let _ = reply.send(done);
            if call.cancel.is_cancelled() {
                tokio::select! {
                    biased;
                    () = closing.cancelled() => {}
                    () = self.interrupt() => {}
                }
            }
        }
        self.end_shell().await;
    }

    /// Takes in what the shell says while nobody waits, so that what runs there does not stop. Loses nothing if dropped.
    async fn idle(&mut self) {
        match &mut self.shell {
            Some(shell) if !shell.is_gone() => {
                if shell.capture.is_overflowing() {
                    tokio::time::sleep(PAUSE).await;
                }
                shell.pump().await;
            }
            _ => std::future::pending().await,
        }
    }

    async fn spill(&mut self) {
        if let Some(shell) = &mut self.shell {
            shell
                .capture
                .spill(Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir })
                .await;
        }
    }

    async fn perform(&mut self, action: TerminalAction, call: &Call) -> Result<TerminalObservation, Error> {
        let TerminalAction { command, is_input, timeout, reset } = action;
        if reset && is_input {
            return Err(Error::Invalid(
                "reset and is_input cannot both be true: a new shell runs nothing to type to".into(),
            ));
        }
        if timeout.is_some_and(|seconds| !seconds.is_finite() || seconds < 0.0) {
            return Err(Error::Invalid("timeout must be a number of seconds, 0 or more".into()));
        }
        let command = command.trim();
        if let Some(refusal) = self.refusal(command, is_input, timeout) {
            return Ok(self.error(command, refusal));
        }
        if !reset {
            return self.execute(command, is_input, timeout, call).await;
        }
        self.end_shell().await;
        self.notes.clear();
        if command.is_empty() {
            let mut done = self.observation("[RESET]", RESET.to_owned(), CommandMetadata::default());
            done.exit_code = Some(0);
            return Ok(done);
        }
        let mut done = self.execute(command, false, timeout, call).await?;
        let output = done.content.first().and_then(Content::as_text).unwrap_or_default();
        done.content = vec![Content::text(format!("{RESET}\n\n{output}").trim_end())];
        done.command = Some(format!("[RESET] {command}"));
        Ok(done)
    }

    /// Why a command cannot be run whatever state the shell is in.
    fn refusal(&self, command: &str, is_input: bool, timeout: Option<f64>) -> Option<String> {
        if let (Some(timeout), Some(most)) = (timeout, self.settings.max_timeout)
            && timeout > most.as_secs_f64()
        {
            let most = seconds(most);
            return Some(format!(
                "A timeout of {timeout:?} seconds is too long: this server may be stopped when nothing happens for so \
                 long. Use at most {most} seconds, or start the command in the background and look after it."
            ));
        }
        if command.contains('\0') {
            return Some("A command cannot contain a zero byte.".to_owned());
        }
        let looks_like_data = ["[\"", "[{", "{\""].iter().any(|start| command.starts_with(start));
        (!is_input && looks_like_data).then(|| {
            "The command looks like a list or an object of JSON or Python and was not run. Give the shell command itself \
             as plain text."
                .to_owned()
        })
    }

    async fn execute(
        &mut self,
        command: &str,
        is_input: bool,
        timeout: Option<f64>,
        call: &Call,
    ) -> Result<TerminalObservation, Error> {
        let started = Instant::now();
        if call.cancel.is_cancelled() {
            return Err(interrupted());
        }
        self.forget_lost_shell().await;
        let store = Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir };
        let (is_running, ended) = match &mut self.shell {
            Some(shell) => {
                shell.catch_up(store).await;
                (shell.is_running(), shell.take_ended())
            }
            None => (false, None),
        };
        let key = keys::special(command);
        let is_new = !command.is_empty() && !is_input && key.is_none();
        match ended {
            // The command ended between two calls. Input for it has nowhere to go.
            Some(ended) if !is_new => return Ok(self.completed(command, ended, CONTINUED.to_owned(), "").await),
            Some(ended) => return self.run(command, Some(ended), started, timeout, call).await,
            None if is_new && !is_running => return self.run(command, None, started, timeout, call).await,
            None => {}
        }
        if !is_running {
            let what = if command.is_empty() { "retrieve logs from" } else { "interact with" };
            return Ok(self.error(command, format!("No previous running command to {what}.")));
        }
        if is_new {
            return Ok(self.not_executed(command).await);
        }
        if let Some(shell) = &mut self.shell {
            match key {
                Some(key) => shell.press(&key),
                None if command.is_empty() => {}
                None => shell.type_line(command),
            }
        }
        self.wait(command, CONTINUED.to_owned(), started, timeout, call).await
    }

    /// Runs a new command; `before` ended and was not reported.
    async fn run(
        &mut self,
        command: &str,
        before: Option<Ended>,
        started: Instant,
        timeout: Option<f64>,
        call: &Call,
    ) -> Result<TerminalObservation, Error> {
        if let Some(ended) = &before {
            let how = ended.in_words();
            self.notes = format!("[The previous command {how}; the rest of its output comes first.]\n");
        }
        if self.shell.as_ref().is_some_and(Shell::is_gone) {
            self.end_shell().await;
        }
        self.give(command, before.map(|ended| ended.capture), call).await?;
        let store = Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir };
        if let Some(shell) = &mut self.shell
            && !shell.begins(store, &call.cancel).await
        {
            // The shell had ended and nobody had noticed.
            self.end_shell().await;
            NEW_SHELL.clone_into(&mut self.notes);
            self.give(command, None, call).await?;
        }
        let prefix = std::mem::take(&mut self.notes);
        self.wait(command, prefix, started, timeout, call).await
    }

    /// Gives a command to the shell, which is started if there is none; its output comes after `before`.
    async fn give(&mut self, command: &str, before: Option<Capture>, call: &Call) -> Result<(), Error> {
        let store = Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir };
        if !std::mem::replace(&mut self.is_swept, true) {
            Shell::sweep(store).await;
        }
        let mut shell = if let Some(shell) = self.shell.take() {
            shell
        } else {
            let shell = Shell::start(store, &self.settings, &call.cancel)
                .await
                .map_err(|error| Error::Failed(format!("The shell cannot be started. {error}")))?
                .ok_or_else(interrupted)?;
            if !shell.has_user_start {
                self.notes.push_str("[The shell was started without ~/.bashrc, which did not let it start.]\n");
            }
            shell
        };
        if let Some(before) = before {
            let later = std::mem::replace(&mut shell.capture, before);
            shell.capture.append(&later);
        }
        let shell = self.shell.insert(shell);
        shell
            .run(store.workspace, command, &call.secrets)
            .await
            .map_err(|error| Error::Failed(format!("The command cannot be given to the shell: {error}")))
    }

    async fn wait(
        &mut self,
        command: &str,
        prefix: String,
        started: Instant,
        timeout: Option<f64>,
        call: &Call,
    ) -> Result<TerminalObservation, Error> {
        let store = Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir };
        let Some(shell) = &mut self.shell else { return Err(interrupted()) };
        let hard = timeout.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        let patience = match hard {
            Some(time) => Patience { quiet: None, deadline: started.checked_add(time) },
            None => Patience { quiet: Some(self.settings.no_change), deadline: None },
        };
        let suffix = match shell.wait(store, patience, &call.cancel).await {
            Waited::Cancelled => return Err(interrupted()),
            Waited::Done => {
                let ended = shell.take_ended();
                let Some(ended) = ended else { return Err(interrupted()) };
                let sent = keys::control(command).map(|key| format!(" CTRL+{} was sent.", key.to_ascii_uppercase()));
                return Ok(self.completed(command, ended, prefix, &sent.unwrap_or_default()).await);
            }
            Waited::Quiet => {
                let seconds = seconds(self.settings.no_change);
                format!("\n[The command has no new output after {seconds} seconds. {NEXT}]")
            }
            Waited::Deadline => {
                format!("\n[The command timed out after {:?} seconds. {NEXT}]", timeout.unwrap_or_default())
            }
        };
        let capture = shell.take_output();
        Ok(self.unfinished(command, capture, prefix, suffix).await)
    }

    /// A command that is over.
    async fn completed(&mut self, command: &str, ended: Ended, prefix: String, sent: &str) -> TerminalObservation {
        let how = ended.in_words();
        let Ended { exit_code, background, capture, is_shell_gone, lost, .. } = ended;
        let gone = if is_shell_gone { " The shell ended with it; the next command starts a new one." } else { "" };
        let suffix = format!("\n[The command {how}.{sent}{gone}]");
        let facts = self.shell.as_ref().map(|shell| shell.facts.clone()).unwrap_or_default();
        let metadata = CommandMetadata {
            exit_code,
            pid: background.unwrap_or(-1),
            username: facts.user,
            hostname: facts.host,
            working_dir: facts.folder,
            py_interpreter_path: facts.python,
            prefix,
            suffix,
        };
        let text = self.text(capture).await;
        if is_shell_gone {
            self.end_shell().await;
        }
        let mut done = self.observation(command, text, metadata);
        done.is_error = lost.is_some();
        done
    }

    /// A command that runs on.
    async fn unfinished(
        &mut self,
        command: &str,
        capture: Capture,
        prefix: String,
        suffix: String,
    ) -> TerminalObservation {
        let text = self.text(capture).await;
        self.observation(command, text, CommandMetadata { prefix, suffix, ..CommandMetadata::default() })
    }

    /// The answer to a command that comes while another one runs.
    async fn not_executed(&mut self, command: &str) -> TerminalObservation {
        let capture = self.shell.as_mut().map(Shell::take_output).unwrap_or_default();
        let suffix = format!(
            "\n[Your command \"{command}\" is NOT executed. The previous command is still running. {NEXT} To run something \
             beside it, reset the terminal or wait for its end.]"
        );
        let mut done = self.unfinished(command, capture, CONTINUED.to_owned(), suffix).await;
        done.is_error = true;
        done
    }

    async fn text(&mut self, capture: Capture) -> String {
        capture.finish(Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir }).await
    }

    fn store(&self) -> Store<'_> {
        Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir }
    }

    fn observation(&self, command: &str, text: String, metadata: CommandMetadata) -> TerminalObservation {
        TerminalObservation {
            content: vec![Content::text(text)],
            is_error: false,
            command: Some(command.to_owned()),
            exit_code: Some(metadata.exit_code),
            timeout: false,
            metadata,
            full_output_save_dir: Some(self.store().outputs().display().to_string()),
        }
    }

    /// A call that did not reach the shell.
    fn error(&self, command: &str, text: String) -> TerminalObservation {
        let mut done = self.observation(command, text, CommandMetadata::default());
        done.is_error = true;
        done.exit_code = None;
        done
    }

    async fn interrupt(&mut self) {
        let store = Store { workspace: &*self.context.workspace, folder: &self.context.persistence_dir };
        if let Some(shell) = self.shell.as_mut().filter(|shell| shell.is_running()) {
            shell.interrupt(store).await;
            // A shell that is still busy after the last signal, or died of it, is replaced.
            if shell.is_running() || shell.is_gone() {
                self.end_shell().await;
                NEW_SHELL.clone_into(&mut self.notes);
            }
        }
    }

    /// Puts a shell away that ended while no command ran.
    async fn forget_lost_shell(&mut self) {
        if let Some(shell) = self.shell.as_ref().filter(|shell| shell.is_gone()) {
            // How its last command ended is still to be told.
            if !shell.has_ended() {
                self.end_shell().await;
                NEW_SHELL.clone_into(&mut self.notes);
            }
        }
    }

    async fn end_shell(&mut self) {
        if let Some(shell) = self.shell.take() {
            shell.end(&*self.context.workspace).await;
        }
    }
}

fn interrupted() -> Error {
    Error::Failed("The command was interrupted.".to_owned())
}
