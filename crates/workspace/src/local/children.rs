//! Which processes are children that somebody here holds, for a process that also collects orphans.

use std::{
    collections::HashMap,
    io,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, WaitOptions},
};

/// Whether this process collects orphans, without which the list is not kept.
static COLLECTING: AtomicBool = AtomicBool::new(false);

/// Held for reading while a child starts, so that none is taken for an orphan before it is in the list.
static STARTING: RwLock<()> = RwLock::new(());

/// The children, and whether somebody still holds them. One that nobody holds is collected by the runtime.
static CHILDREN: LazyLock<Mutex<HashMap<Pid, bool>>> = LazyLock::new(Mutex::default);

/// Starts a child that somebody holds from then on.
pub(super) fn start<T>(start: impl FnOnce() -> io::Result<T>, number: impl FnOnce(&T) -> Option<Pid>) -> io::Result<T> {
    let _starting = STARTING.read_recursive();
    let child = start()?;
    if COLLECTING.load(Ordering::Acquire)
        && let Some(pid) = number(&child)
    {
        CHILDREN.lock().insert(pid, true);
    }
    Ok(child)
}

/// Nobody holds the child any more.
pub(super) fn release(pid: Pid) {
    if COLLECTING.load(Ordering::Acquire) {
        CHILDREN.lock().insert(pid, false);
    }
}

/// Keeps the list from now on. Must be called before the first child is started.
pub(crate) fn watch() {
    COLLECTING.store(true, Ordering::Release);
}

/// Collects those of the ended processes that were never children of somebody here.
pub(crate) fn collect(ended: &[Pid]) {
    let _nobody_starts = STARTING.write();
    let mut children = CHILDREN.lock();
    children.retain(|pid, held| *held || is_child(*pid));
    for pid in ended.iter().filter(|pid| !children.contains_key(pid)) {
        let _ = rustix::process::waitpid(Some(*pid), WaitOptions::NOHANG);
    }
}

/// Whether the process is still a child, running or not collected.
fn is_child(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Err(Errno::CHILD))
}
