//! What bubblewrap finds when it starts as the user of a box.
//!
//! The folders that a box sees are private to the server, so another user could not reach them. As root, the child that
//! becomes bubblewrap therefore first makes a mount namespace of its own with nothing in it but these folders and what
//! bubblewrap itself needs. It goes with the box. There is a second gain: with the whole tree of this machine, each box
//! would keep the disks of all others mounted, and bubblewrap would read a list of all of them for every folder.

use std::{
    ffi::{CString, OsStr},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount},
    thread::UnshareFlags,
};

/// The folders of this machine that programs are made of.
pub(super) const SYSTEM: [&str; 9] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"];

/// The folder on a stage that holds what else a box sees.
const EXTRA: &str = "/box";

/// Folders of this machine as bubblewrap finds them.
#[derive(Debug)]
pub(super) enum Sources {
    /// Where they are.
    Direct,
    /// On a stage, in the order in which they were asked for.
    Staged(Vec<PathBuf>),
}

impl Sources {
    /// Where bubblewrap finds `path`.
    pub(super) fn find(&mut self, path: &Path) -> PathBuf {
        match self {
            Self::Direct => path.to_owned(),
            Self::Staged(paths) => {
                paths.push(path.to_owned());
                format!("{EXTRA}/{}", paths.len() - 1).into()
            }
        }
    }
}

/// A mount namespace that is yet to be made. Everything is ready for a child that must not allocate.
#[derive(Debug)]
pub(super) struct Stage {
    point: CString,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Folder(CString),
    File(CString),
    Link { target: CString, path: CString },
    Bind { source: CString, path: CString },
}

impl Stage {
    /// A stage at the empty folder `point`, for `bubblewrap` and for boxes that see `sources`.
    pub(super) fn new(point: &Path, bubblewrap: &Path, sources: &[PathBuf]) -> io::Result<Self> {
        let mut stage = Self { point: text(point)?, steps: Vec::new() };
        for name in SYSTEM.into_iter().chain(["etc", "proc", "dev"]) {
            stage.show(&Path::new("/").join(name), &point.join(name))?;
        }
        // Bubblewrap puts the box's root together there.
        stage.steps.push(Step::Folder(text(&point.join("tmp"))?));
        if !SYSTEM.iter().any(|name| bubblewrap.starts_with(Path::new("/").join(name))) {
            let path = point.join(bubblewrap.strip_prefix("/").unwrap_or(bubblewrap));
            let above: Vec<_> = path.ancestors().skip(1).take_while(|above| *above != point).collect();
            for folder in above.into_iter().rev() {
                stage.steps.push(Step::Folder(text(folder)?));
            }
            stage.show(bubblewrap, &path)?;
        }
        let extra = point.join(&EXTRA[1..]);
        stage.steps.push(Step::Folder(text(&extra)?));
        for (number, source) in sources.iter().enumerate() {
            stage.show(&fs::canonicalize(source)?, &extra.join(number.to_string()))?;
        }
        Ok(stage)
    }

    /// Shows `source`, if it is there, at `path`.
    fn show(&mut self, source: &Path, path: &Path) -> io::Result<()> {
        let Ok(facts) = fs::symlink_metadata(source) else { return Ok(()) };
        let (source, path) = (text(source)?, text(path)?);
        if facts.is_symlink() {
            let target = fs::read_link(OsStr::from_bytes(source.as_bytes()))?;
            self.steps.push(Step::Link { target: text(&target)?, path });
            return Ok(());
        }
        self.steps.push(if facts.is_dir() { Step::Folder(path.clone()) } else { Step::File(path.clone()) });
        self.steps.push(Step::Bind { source, path });
        Ok(())
    }

    /// Makes this process live on the stage. Does system calls and nothing else.
    pub(super) fn enter(&self) -> io::Result<()> {
        unshare()?;
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount(c"tmpfs", &*self.point, c"tmpfs", MountFlags::NODEV | MountFlags::NOSUID, c"mode=755,size=1m")?;
        self.steps.iter().try_for_each(Step::take)?;
        rustix::process::chdir(&*self.point)?;
        rustix::process::pivot_root(c".", c".")?;
        unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        Ok(())
    }
}

impl Step {
    fn take(&self) -> Result<(), Errno> {
        match self {
            // Two steps may want the same folder.
            Self::Folder(path) => match rustix::fs::mkdir(&**path, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => Ok(()),
                result => result,
            },
            Self::File(path) => {
                let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
                rustix::fs::open(&**path, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
            Self::Link { target, path } => rustix::fs::symlink(&**target, &**path),
            Self::Bind { source, path } => mount_bind_recursive(&**source, &**path),
        }
    }
}

#[expect(unsafe_code, reason = "the call may also part threads that share files, which this flag does not ask for")]
fn unshare() -> Result<(), Errno> {
    // SAFETY: only the mount namespace is parted; descriptors stay shared as they are.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
