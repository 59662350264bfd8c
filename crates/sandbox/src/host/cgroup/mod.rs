//! Control groups: what limits, halts, counts and kills all processes of a box.
//!
//! Version 1, where each controller has a tree, and version 2, which has one, stand behind [`Group`]. Groups are made
//! below the one that this process is in, so that they share its limits and an ordinary user's delegated part of the
//! tree will do.

mod find;
mod v1;
mod v2;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt, fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub use find::Cgroups;
use rustix::process::Pid;

use crate::{Error, Limits};

/// How long a group whose processes are dead may take until it can be removed: they are taken out of it a moment later.
const REMOVAL_LIMIT: Duration = Duration::from_secs(5);

/// The length of the period that processor time is given out for, in microseconds.
const PERIOD: u64 = 100_000;

/// The control group of one box. Every call reads or writes the system's files anew.
pub trait Group: fmt::Debug + Send + Sync {
    /// Its folders: one, or one for each controller.
    fn folders(&self) -> BTreeSet<&Path>;

    /// What [`recorded`] makes the same group from, also for a process in another place of the tree.
    fn record(&self) -> String;

    /// Sets all limits; a missing one lifts it.
    ///
    /// # Errors
    /// What the system says: less memory than is in use and cannot be freed.
    fn limit(&self, limits: &Limits) -> Result<(), Error>;

    /// Halts its processes, or lets them go on; returns when that is so.
    ///
    /// # Errors
    /// What the system says.
    fn freeze(&self, frozen: bool) -> Result<(), Error>;

    /// Whether its processes are halted.
    fn is_frozen(&self) -> bool;

    /// Kills its processes at once, if the system can do so.
    fn kill(&self);

    /// What its processes use.
    fn usage(&self) -> Usage;

    /// How often a process of it was killed because memory was used up.
    fn memory_kills(&self) -> u64;

    /// Makes it; does nothing if it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self) -> Result<(), Error> {
        self.folders().into_iter().try_for_each(make)
    }

    /// Whether any part of it is there.
    fn exists(&self) -> bool {
        self.folders().into_iter().any(Path::exists)
    }

    /// The files that let in a process with a single thread which writes `0` to them.
    fn entrances(&self) -> Vec<PathBuf>;

    /// Its processes, as this process's namespace numbers them.
    fn processes(&self) -> HashSet<Pid> {
        let members = self.folders().into_iter().filter_map(|folder| fs::read_to_string(folder.join(MEMBERS)).ok());
        members
            .flat_map(|list| list.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect::<Vec<_>>())
            .collect()
    }

    /// Removes it; does nothing if it is gone. Its processes must be dead.
    ///
    /// # Errors
    /// What the system says: there are processes in it.
    fn remove(&self) -> Result<(), Error> {
        self.folders().into_iter().try_for_each(remove)
    }
}

/// The group that `record` was written for; none if it is not in that form.
pub fn recorded(record: &str) -> Option<Box<dyn Group>> {
    let lines: BTreeMap<_, _> = record.lines().filter_map(|line| line.split_once(' ')).collect();
    if let Some(folder) = lines.get(v2::NAME) {
        return Some(Box::new(v2::Folder(folder.into())));
    }
    let folders: BTreeMap<_, _> =
        v1::CONTROLLERS.into_iter().filter_map(|name| Some((name, lines.get(name)?.into()))).collect();
    (!folders.is_empty()).then(|| Box::new(v1::Folders(folders)) as Box<dyn Group>)
}

/// What a group's processes use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory, without what the system can drop at any time.
    pub memory: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// The file with the processes of a group.
const MEMBERS: &str = "cgroup.procs";

/// Makes a group with those above it: somebody may have tidied up an empty one.
fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder)
        .map_err(|cause| Error::failed(format!("make the control group {}", folder.display()), cause))
}

fn remove(folder: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL_LIMIT;
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(cause) => return Err(Error::failed(format!("remove the control group {}", folder.display()), cause)),
        }
    }
}

fn write(folder: &Path, file: &str, value: impl fmt::Display) -> Result<(), Error> {
    let path = folder.join(file);
    fs::write(&path, value.to_string())
        .map_err(|cause| Error::failed(format!("write {value} to {}", path.display()), cause))
}

/// The number in a file that holds one.
fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// The number behind `key` in a file of keys and numbers.
fn keyed(folder: &Path, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Microseconds of processor time in each [`PERIOD`].
fn quota(cpu_milli: u32) -> u64 {
    (u64::from(cpu_milli) * PERIOD / 1000).max(1000)
}
