//! Programs of this machine that do what no system call does: they make, check, resize and mount file systems.

use std::{
    ffi::OsStr,
    io::{self, Read as _},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// How long one may take. The check of a big file system after a crash is the longest.
const LIMIT: Duration = Duration::from_mins(10);

/// How much of what it says is kept.
const WORDS: u64 = 4096;

/// Where such programs are besides `PATH`, which lacks these folders for ordinary users.
const FOLDERS: &str = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin";

/// Runs a program to its end and returns its exit code and what it said.
pub(super) fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> io::Result<(i32, String)> {
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", FOLDERS)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| io::Error::new(cause.kind(), format!("{program}: {cause}")))?;
    let waited = wait(&child);
    if waited.is_err() {
        let _ = child.kill();
    }
    let mut words = String::new();
    if let Some(said) = child.stderr.take() {
        let mut bytes = Vec::new();
        said.take(WORDS).read_to_end(&mut bytes)?;
        words = String::from_utf8_lossy(&bytes).trim().replace('\n', "; ");
    }
    let status = child.wait()?;
    waited.map_err(|cause| io::Error::new(cause.kind(), format!("{program}: {cause}")))?;
    Ok((status.code().unwrap_or(-1), words))
}

/// Whether there is such a program.
pub(super) fn exists(program: &str) -> bool {
    std::env::split_paths(FOLDERS).any(|folder| folder.join(program).is_file())
}

fn wait(child: &std::process::Child) -> io::Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let end = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    match retry_on_intr(|| poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&limit)))? {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, "it takes more than ten minutes")),
        _ => Ok(()),
    }
}
