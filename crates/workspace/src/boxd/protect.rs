//! What `boxd` does about the processes of its box: it does not let them look into it or tell it to end, and it leaves none
//! of them behind.

use std::{
    fs, io,
    os::{fd::IntoRawFd as _, unix::net::UnixStream},
    sync::atomic::{AtomicI32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use tokio::{
    io::AsyncReadExt as _,
    signal::unix::{SignalKind, signal},
};

use crate::local::children;

/// The signals that ask a process to end.
const ENDING: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Orphans are collected this long after a child ended, so that a burst of ends is one look.
const SETTLE: Duration = Duration::from_millis(500);

/// How long to go on against processes that start others faster than they are killed.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How long killed processes get to end before the next look.
const END_PAUSE: Duration = Duration::from_millis(1);

/// Where the signal handler writes to.
static TOLD: AtomicI32 = AtomicI32::new(-1);

/// Keeps other processes of the same user from reading this one's memory, descriptors and environment, and its children
/// from inheriting what it holds. Orphans become its children.
pub(super) fn process() {
    // What a system lacks cannot be had; none of it is needed to work.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    close_on_exec();
}

#[expect(unsafe_code, reason = "there is no safe form of this system call")]
fn close_on_exec() {
    // SAFETY: the call takes three numbers, and the flag closes nothing in this process.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Whether who connected runs as the user that this process runs as, or as root.
pub(super) fn is_own_user(stream: &tokio::net::UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| [0, own].contains(&peer.uid()))
}

/// Takes over the signals that ask a process to end. The future is ready when one came from outside of the box, from the
/// parent or from the first process of the box.
pub(super) fn told_to_end() -> io::Result<impl Future<Output = io::Result<()>>> {
    let (told, tell) = UnixStream::pair()?;
    for end in [&told, &tell] {
        end.set_nonblocking(true)?;
    }
    let mut told = tokio::net::UnixStream::from_std(told)?;
    TOLD.store(tell.into_raw_fd(), Ordering::Release);
    for signal in ENDING {
        handle(signal)?;
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    Ok(async move {
        loop {
            // A sender outside of this namespace of processes has the number 0.
            let sender = told.read_i32_le().await?;
            if [0, 1, parent].contains(&sender) {
                return Ok(());
            }
        }
    })
}

#[expect(unsafe_code, reason = "who sent a signal is known only to a handler of one's own")]
fn handle(signal: libc::c_int) -> io::Result<()> {
    extern "C" fn tell(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system hands a valid record to a handler that was set up with `SA_SIGINFO`, and the signals that are
        // handled here carry a sender.
        let sender = unsafe { (*info).si_pid() }.to_le_bytes();
        // SAFETY: the location of the thread's error number is always valid.
        let errno = unsafe { *libc::__errno_location() };
        // SAFETY: the call is allowed in a handler, and the bytes outlive it. A full socket holds signals enough.
        unsafe { libc::write(TOLD.load(Ordering::Acquire), sender.as_ptr().cast(), sender.len()) };
        // SAFETY: as above; whoever was interrupted finds its own error.
        unsafe { *libc::__errno_location() = errno };
    }
    // SAFETY: zeros are a valid record, whose fields are then set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = tell as extern "C" fn(_, _, _) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the record is valid, and the handler calls only what is allowed in one.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Collects processes that lost their parent and ended, from now on. Must be called in the runtime's context.
pub(super) fn collect_orphans() -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    children::watch();
    tokio::spawn(async move {
        while ended.recv().await.is_some() {
            tokio::time::sleep(SETTLE).await;
            let _ = tokio::task::spawn_blocking(|| children::collect(&zombies())).await;
        }
    });
    Ok(())
}

/// Kills all that descends from this process. Where it is the first of a namespace, its own end does so.
pub(super) fn end_children() {
    let deadline = Instant::now() + END_LIMIT;
    while rustix::process::getpid() != Pid::INIT && Instant::now() < deadline {
        let children = children_by_state();
        if children.is_empty() {
            return;
        }
        for (pid, _) in children {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
        std::thread::sleep(END_PAUSE);
    }
}

fn zombies() -> Vec<Pid> {
    children_by_state().into_iter().filter(|(_, state)| *state == 'Z').map(|(pid, _)| pid).collect()
}

/// This process's children and what they are doing.
fn children_by_state() -> Vec<(Pid, char)> {
    let own = rustix::process::getpid().as_raw_nonzero().get().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    let state = |pid: Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // A program's name may hold anything, so the fields are counted from the parenthesis behind it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        (fields.next()? == own).then_some((pid, state))
    };
    numbers.filter_map(Pid::from_raw).filter_map(state).collect()
}
