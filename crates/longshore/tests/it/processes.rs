//! Processes of this machine, found by a word of their command line that no other test uses.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

/// A time to sleep that nobody else sleeps: tells the process of one test from all others.
pub(crate) fn unique_seconds() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("300.{}{:03}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a process `sleep SECONDS` runs.
pub(crate) fn sleeps(seconds: &str) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| line == wanted.as_bytes())
}
