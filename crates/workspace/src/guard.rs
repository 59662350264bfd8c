//! The end of every process that the server started, however the server itself ends.
//!
//! A server that is killed cannot tidy up, and its children's children may have left their group and session
//! (`setsid nohup server &`). So every child carries a variable with a value of its own for each server, which all that
//! descend from it inherit, and a second process, the guard, waits on a pipe for the server's end and then kills whatever
//! carries the value. The guard starts with the first child; it is not among those that it kills.
//!
//! Limits: a process that clears its own environment is not found, nor one that became another user (`sudo`) unless the
//! guard is root. Workspaces in boxes have a process namespace that ends as a whole.

use std::{
    fs, io,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::Command;

/// The variable that a server's children carry.
pub const MARKER: &str = "LONGSHORE_CHILD_OF";

/// How long a sweep goes on against processes that start others faster than they are killed.
const SWEEP_LIMIT: Duration = Duration::from_secs(10);

/// How long a guard that does not start, or does not stay, is left alone.
const RETRY: Duration = Duration::from_secs(10);

/// How long a sweep waits before it believes that nothing is left: a process that is just starting another program has no
/// environment to read for a moment.
const SETTLE: Duration = Duration::from_millis(20);

/// A server's guard, which every [`crate::Local`] of the server shares. Cheap to clone.
///
/// When the last clone is dropped, or the server ends in any way, everything that the server started is killed.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    command: Command,
    marker: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Child>,
    started: Option<Instant>,
    warned: bool,
}

impl Guard {
    /// A guard that `command` starts: a program that calls [`run`] with its last argument, which is added here.
    pub fn new(command: Command) -> Self {
        let marker = uuid::Uuid::new_v4().simple().to_string();
        Self { inner: Arc::new(Inner { command: command.arg(&*marker), marker, state: Mutex::default() }) }
    }

    /// The value that this server's children carry in [`MARKER`].
    pub fn marker(&self) -> &str {
        &self.inner.marker
    }

    /// Starts the guard's process unless it runs.
    ///
    /// A guard that does not start is no reason to refuse work, since the server still ends its children when it ends in
    /// order; it is tried again later.
    pub(crate) fn start(&self) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = &mut state.process
            && matches!(process.try_wait(), Ok(None))
        {
            return;
        }
        if state.started.is_some_and(|started| started.elapsed() < RETRY) {
            return;
        }
        let failed = state.process.take().map(|_| io::Error::other("it ended by itself"));
        state.started = Some(Instant::now());
        let failed = match self.inner.launch() {
            Ok(process) => {
                state.process = Some(process);
                failed
            }
            Err(cause) => Some(cause),
        };
        if let Some(cause) = failed
            && !std::mem::replace(&mut state.warned, true)
        {
            tracing::warn!(
                program = %self.inner.command.program.display(), %cause,
                "the guard does not run: processes may outlive this server if it is killed"
            );
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("program", &self.inner.command.program).finish_non_exhaustive()
    }
}

impl Inner {
    fn launch(&self) -> io::Result<Child> {
        // The pipe's other end is closed on exec, so no child keeps it open after the server.
        std::process::Command::new(&self.command.program)
            .args(&self.command.args)
            .env_clear()
            .envs(self.command.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut process) = state.process.take() {
            // Closing the pipe lets it sweep. It is collected elsewhere, since a sweep takes a moment.
            drop(process.stdin.take());
            let _ = thread::Builder::new().name("guard".into()).spawn(move || process.wait());
        }
    }
}

/// The guard's process: waits until standard input ends, which is when the server does, and kills what carries `marker`.
/// Returns how many processes that were.
pub fn run(marker: &str) -> usize {
    // Away from the server's terminal, where Ctrl-C and hang-ups would end the guard before its work.
    let _ = rustix::process::setsid();
    // An error is as good a sign as the end.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    sweep(marker)
}

/// Kills every process that carries `marker` until none is left, and returns how many there were.
pub fn sweep(marker: &str) -> usize {
    let entry = format!("{MARKER}={marker}").into_bytes();
    let deadline = Instant::now() + SWEEP_LIMIT;
    let mut killed = 0;
    let mut quiet = 0;
    while quiet < 2 && Instant::now() < deadline {
        let found = pass(&entry);
        killed += found;
        quiet = if found == 0 { quiet + 1 } else { 0 };
        if quiet < 2 {
            thread::sleep(SETTLE);
        }
    }
    killed
}

/// Kills once every process that is found with `entry` in its environment.
fn pass(entry: &[u8]) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let numbers = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| *pid != rustix::process::getpid() && kill(*pid, entry)).count()
}

fn kill(pid: Pid, entry: &[u8]) -> bool {
    // The descriptor comes first: a number that changes hands after it is read cannot draw the signal on a stranger.
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    // A dead process has an empty environment, one of another user has none that can be read.
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ", pid = pid.as_raw_nonzero())) else { return false };
    if !environment.split(|byte| *byte == 0).any(|variable| variable == entry) {
        return false;
    }
    match descriptor {
        Ok(descriptor) => rustix::process::pidfd_send_signal(descriptor, Signal::KILL).is_ok(),
        Err(_) => rustix::process::kill_process(pid, Signal::KILL).is_ok(),
    }
}
