//! The start of bubblewrap.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::{
    fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::{FdFlags, fcntl_setfd},
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use tokio::process::{Child, Command};

use super::stage::Stage;

/// How much of what a box's own programs say about their failure is kept.
const LOG: usize = 64 << 10;

/// When the machine runs out of memory, boxes die before the server.
const OOM_SCORE: &[u8] = b"300";

/// What is to be started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// Bubblewrap.
    pub(super) bubblewrap: &'a Path,
    /// What its processes are called.
    pub(super) mark: String,
    /// Its options: they hold secrets, so they are not on its command line, which everybody can read.
    pub(super) options: Vec<u8>,
    /// What runs in the box.
    pub(super) command: Vec<OsString>,
    /// Descriptors that it inherits under their numbers.
    pub(super) inherited: Vec<OwnedFd>,
    /// The files that let it into its control group.
    pub(super) entrances: Vec<PathBuf>,
    /// What it finds, if that is not what everybody does.
    pub(super) stage: Option<Stage>,
    /// Who it is, if it is not who the server is.
    pub(super) user: Option<u32>,
}

impl Launch<'_> {
    /// Starts it and returns when the system has its program. Must be called in the runtime's context, on a thread that
    /// may wait.
    pub(super) fn start(mut self) -> io::Result<(Child, Log)> {
        let log = Log::new()?;
        let options = memory_file("options", &self.options)?;
        let mut command = Command::new(self.bubblewrap);
        command.arg0(&self.mark).arg("--args").arg(options.as_raw_fd().to_string()).arg("--").args(&self.command);
        self.inherited.push(options);
        // The first process inside has the same variables, and everybody in the box can read them.
        command.env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(log.0.try_clone()?));
        let child = Beginning {
            entrances: self
                .entrances
                .iter()
                .map(|file| CString::new(file.as_os_str().as_bytes()))
                .collect::<Result<_, _>>()?,
            inherited: self.inherited,
            stage: self.stage,
            user: self.user,
        };
        begin(&mut command, child);
        Ok((command.spawn()?, log))
    }
}

/// A file in memory with `content`, to be read from its beginning.
pub(super) fn memory_file(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

/// What bubblewrap and `boxd` say on standard error. It lives in memory and cannot grow, since everybody in the box can
/// write to it.
#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(LOG as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(file))
    }

    /// Its last line, if there is one.
    pub(super) fn last_line(&self) -> Option<String> {
        let mut bytes = vec![0; LOG];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_matches(['\0', '\n']).lines().next_back()?;
        Some(line.chars().filter(|letter| !letter.is_control()).take(500).collect())
            .filter(|line: &String| !line.is_empty())
    }
}

/// What the child does before it becomes bubblewrap.
struct Beginning {
    entrances: Vec<CString>,
    inherited: Vec<OwnedFd>,
    stage: Option<Stage>,
    user: Option<u32>,
}

impl Beginning {
    /// Does system calls and nothing else.
    fn take(&self) -> io::Result<()> {
        // First, so that all that follows is counted, and found if the server dies now.
        for entrance in &self.entrances {
            write_once(entrance, b"0")?;
        }
        // A score is a wish: it may be refused in a container.
        let _ = write_once(c"/proc/self/oom_score_adj", OOM_SCORE);
        // Away from the server's terminal and its signals.
        rustix::process::setsid()?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        for descriptor in &self.inherited {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        if let Some(stage) = &self.stage {
            stage.enter()?;
        }
        if let Some(number) = self.user {
            let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
            set_thread_groups(&[])?;
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "the only way to act in the child before its program starts")]
fn begin(command: &mut Command, beginning: Beginning) {
    // SAFETY: `take` makes system calls on what was prepared and neither allocates nor takes a lock, so it is safe between
    // `fork` and `exec` of a process with many threads. The child has one thread, so the calls that change the user of a
    // thread change that of the process.
    unsafe { command.pre_exec(move || beginning.take()) };
}

fn write_once(path: &std::ffi::CStr, content: &[u8]) -> Result<(), rustix::io::Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(drop)
}
