//! The certain end of processes.

use std::{
    collections::HashSet,
    io,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::Error;

/// How long processes may take to die: one that waits for a disk does so when the disk answers.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a round waits whose processes were all gone before they could be killed.
const PAUSE: Duration = Duration::from_millis(1);

/// Kills what `find` finds until it finds nothing. `thaw` lets halted processes notice that they are dead.
///
/// A process is named by a number that another may get, so each is opened, and killed if it is still found after that.
///
/// # Errors
/// [`Error::Failed`] if something is left after 20 seconds.
pub(crate) fn end_all(find: impl Fn() -> HashSet<Pid>, thaw: impl Fn()) -> Result<(), Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let first = find();
        if first.is_empty() {
            return Ok(());
        }
        let opened: Vec<_> = first.iter().filter_map(|pid| Some((*pid, open(*pid).ok()?))).collect();
        let still = find();
        let killed: Vec<_> = opened.into_iter().filter(|(pid, _)| still.contains(pid)).map(|(_, fd)| fd).collect();
        for process in &killed {
            // It is gone, or another user's; then it is still there in the next round, and in the message at the end.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        thaw();
        for process in &killed {
            wait(process, deadline);
        }
        if killed.is_empty() {
            thread::sleep(PAUSE);
        }
        if Instant::now() >= deadline {
            return Err(Error::failed("end the processes of a box", format!("{} are left", find().len())));
        }
    }
}

/// A descriptor of a process that becomes readable when the process ends. Must be called in the runtime's context.
///
/// # Errors
/// What the system says: there is no such process.
#[expect(unsafe_code, reason = "the runtime wants a promise about the descriptor, which its type gives")]
pub(crate) fn watch_end(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let process = open(pid)?;
    // SAFETY: an `OwnedFd` is the only owner of an open descriptor and keeps it open and the same until it is dropped.
    unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }.map_err(Into::into)
}

fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    pidfd_open(pid, PidfdFlags::empty())
}

fn wait(process: &OwnedFd, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    // An error is as good as an end: the next round looks again.
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left));
}
