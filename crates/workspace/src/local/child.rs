//! A child process: its end, signals to it, and the end of all that it left behind.

use std::{fs, io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process,
    signal::unix::{self, SignalKind},
};

use super::{children, descriptor::watch};
use crate::{ExitStatus, Signal};

/// How long a busy program is waited for, a little longer each time.
const BUSY_PAUSES: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
    Duration::from_millis(32),
];

/// A child process that leads a group or a session, which dies with this; a group whose leader was seen to end does not.
///
/// The child's number stays its own until this is dropped: its end is looked at without collecting it, so a signal to its
/// group cannot hit a stranger that got the number. Collecting is left to the runtime, which also does it for a child
/// that is still dying when this is dropped.
pub(super) struct Child {
    handle: process::Child,
    pid: Pid,
    scope: Scope,
    end: End,
    status: Option<ExitStatus>,
}

/// What dies with the child.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// Its process group.
    Group,
    /// Its session: every group that its shell made.
    Session,
}

/// How the child's end is noticed.
enum End {
    /// By a descriptor of the process.
    Descriptor(AsyncFd<OwnedFd>),
    /// By the signal that any child ended, where the system or its sandbox has no descriptors of processes.
    Signal(unix::Signal),
}

impl Child {
    /// Starts `command`. Must be called in the runtime's context, on a thread that may wait.
    pub(super) fn spawn(command: &mut process::Command, scope: Scope) -> io::Result<Self> {
        let handle = children::start(|| start(command), number)?;
        let pid = number(&handle).ok_or_else(|| io::Error::other("the process has no number"))?;
        let end = match End::of(pid) {
            Ok(end) => end,
            Err(cause) => {
                kill(pid, scope);
                children::release(pid);
                return Err(cause);
            }
        };
        Ok(Self { handle, pid, scope, end, status: None })
    }

    pub(super) fn stdio(
        &mut self,
    ) -> (Option<process::ChildStdin>, Option<process::ChildStdout>, Option<process::ChildStderr>) {
        (self.handle.stdin.take(), self.handle.stdout.take(), self.handle.stderr.take())
    }

    /// Sends a signal to the group that the child leads.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        signal_group(self.pid, signal)
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            self.status = look(self.pid)?;
            if self.status.is_none() {
                self.end.changed().await?;
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // What a program leaves running when it ends, as `server &` does, is meant to stay. A shell that ends takes what
        // it started on its terminal along.
        if self.status.is_none() || matches!(self.scope, Scope::Session) {
            kill(self.pid, self.scope);
        }
        children::release(self.pid);
    }
}

fn number(handle: &process::Child) -> Option<Pid> {
    Pid::from_raw(handle.id()?.cast_signed())
}

/// Starts `command`. A program that was written a moment ago can be busy for as long as a process that another thread
/// starts has not let go of the file, which it inherits until its own program begins.
fn start(command: &mut process::Command) -> io::Result<process::Child> {
    for pause in BUSY_PAUSES {
        match command.spawn() {
            Err(cause) if cause.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(pause),
            started => return started,
        }
    }
    command.spawn()
}

/// Sends a signal to a process group; one that is gone needs none.
pub(super) fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    let signal = match signal {
        Signal::Hangup => rustix::process::Signal::HUP,
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::Quit => rustix::process::Signal::QUIT,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Suspend => rustix::process::Signal::TSTP,
        Signal::Stop => rustix::process::Signal::STOP,
        Signal::Continue => rustix::process::Signal::CONT,
    };
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(cause) => Err(cause.into()),
    }
}

impl End {
    fn of(pid: Pid) -> io::Result<Self> {
        match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => Ok(Self::Descriptor(watch(descriptor, Interest::READABLE)?)),
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(Self::Signal(unix::signal(SignalKind::child())?)),
            Err(cause) => Err(cause.into()),
        }
    }

    async fn changed(&mut self) -> io::Result<()> {
        match self {
            Self::Descriptor(descriptor) => descriptor.readable().await?.retain_ready(),
            Self::Signal(signal) => {
                signal.recv().await;
            }
        }
        Ok(())
    }
}

/// Whether the child has ended, and how.
fn look(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let Some(status) = rustix::process::waitid(WaitId::Pid(pid), options)? else { return Ok(None) };
    Ok(status.exit_status().map(ExitStatus::Exited).or_else(|| status.terminating_signal().map(ExitStatus::Signaled)))
}

fn kill(pid: Pid, scope: Scope) {
    // Errors mean that nobody is there, or a process that changed its user, which only root can end.
    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    if matches!(scope, Scope::Session) {
        // The second look finds what was being started during the first.
        kill_session(pid);
        kill_session(pid);
    }
}

fn kill_session(session: Pid) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if session_of(pid) == session.as_raw_nonzero().get() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The number of a process's session; 0 if that is not one of this namespace, and less if the process is gone.
///
/// One system call: with a file of `/proc` for each process of a busy machine, closing a terminal would take noticeable
/// time.
#[expect(unsafe_code, reason = "the safe wrapper takes the session 0, which kernel threads have, for impossible")]
fn session_of(pid: Pid) -> libc::pid_t {
    // SAFETY: the call takes a number and returns one.
    unsafe { libc::getsid(pid.as_raw_nonzero().get()) }
}
