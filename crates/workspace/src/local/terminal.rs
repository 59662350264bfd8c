//! Processes on a terminal of their own.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    os::unix::process::CommandExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use rustix::{fs::OFlags, io::Errno, pty::OpenptFlags, termios::Winsize};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

use super::{
    child::{self, Child, Scope},
    descriptor::watch,
    program::Launch,
};
use crate::{Error, ExitStatus, ProcessControl, Signal, Terminal, TerminalControl, TerminalSize};

/// Starts a process on a terminal. Must be called in the runtime's context.
pub(super) fn open(launch: &Launch, size: TerminalSize) -> Result<Terminal, Error> {
    let mut command = launch.command()?;
    let (master, slave) = pair(size).map_err(|cause| Error::io("open a terminal", cause))?;
    let output = slave.try_clone().and_then(|output| Ok((output, slave.try_clone()?)));
    let (stdout, stderr) = output.map_err(|cause| Error::io("open a terminal", cause))?;
    command.stdin(slave).stdout(stdout).stderr(stderr);
    lead_session(&mut command);
    let mut command = tokio::process::Command::from(command);
    let child = Child::spawn(&mut command, Scope::Session).map_err(|cause| launch.failure(cause))?;
    // The command holds the child's end of the terminal; while it is open there is no end of file.
    drop(command);
    let master = Arc::new(
        watch(master, Interest::READABLE | Interest::WRITABLE).map_err(|cause| Error::io("open a terminal", cause))?,
    );
    Ok(Terminal {
        output: Box::pin(Master(master.clone())),
        input: Box::pin(Master(master.clone())),
        control: Box::new(Control { child, master }),
    })
}

/// Both ends of a new terminal. Neither is inherited by a process that another thread starts at this moment.
fn pair(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    rustix::termios::tcsetwinsize(&master, size.into())?;
    rustix::fs::fcntl_setfl(&master, rustix::fs::fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, slave))
}

/// Lets the child begin as the leader of a session on the terminal that is its standard input.
#[expect(unsafe_code, reason = "the only way to act in the child before its program starts")]
fn lead_session(command: &mut std::process::Command) {
    let begin = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: `begin` makes two system calls and neither allocates nor takes a lock, so it is safe between `fork` and
    // `exec` of a process with many threads; standard input is set up before it runs.
    unsafe { command.pre_exec(begin) };
}

/// This end of the terminal.
struct Master(Arc<AsyncFd<OwnedFd>>);

impl AsyncRead for Master {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            match ready.try_io(|master| Ok(rustix::io::read(master, buf.initialize_unfilled())?)) {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other end open any more.
                Ok(Err(cause)) if Errno::from_io_error(&cause) == Some(Errno::IO) => return Poll::Ready(Ok(())),
                Ok(Err(cause)) if cause.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(cause)) => return Poll::Ready(Err(cause)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Master {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match ready.try_io(|master| Ok(rustix::io::write(master, bytes)?)) {
                Ok(Err(cause)) if cause.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Control {
    child: Child,
    master: Arc<AsyncFd<OwnedFd>>,
}

#[async_trait]
impl ProcessControl for Control {
    async fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.child.signal(signal).map_err(|cause| Error::io("signal a process", cause))
    }

    async fn wait(&mut self) -> Result<ExitStatus, Error> {
        self.child.wait().await.map_err(|cause| Error::io("wait for a process", cause))
    }
}

#[async_trait]
impl TerminalControl for Control {
    async fn signal_foreground(&self, signal: Signal) -> Result<(), Error> {
        let what = "signal a terminal's processes";
        match rustix::termios::tcgetpgrp(self.master.as_fd()) {
            Ok(group) => child::signal_group(group, signal).map_err(|cause| Error::io(what, cause)),
            // There is no group in the foreground: the session is over.
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::IO) => Ok(()),
            Err(cause) => Err(Error::io(what, cause)),
        }
    }

    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        rustix::termios::tcsetwinsize(self.master.as_fd(), size.into())
            .map_err(|cause| Error::io("resize a terminal", cause))
    }
}

impl From<TerminalSize> for Winsize {
    fn from(size: TerminalSize) -> Self {
        Self { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}
