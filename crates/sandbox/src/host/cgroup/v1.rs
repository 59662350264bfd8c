//! Version 1: a tree for each controller.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Group, PERIOD, Usage, keyed, number, quota, write};
use crate::{Error, Limits};

/// What a box needs. Two of them may share a tree.
pub(super) const CONTROLLERS: [&str; 5] = ["memory", "cpu", "cpuacct", "pids", "freezer"];

/// How long processes may take to halt: one that waits for a disk does so when the disk answers.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

const STATE: &str = "freezer.state";
const MEMORY: &str = "memory.limit_in_bytes";
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";

/// The folder for each controller that can be used.
#[derive(Debug)]
pub(super) struct Folders(pub(super) BTreeMap<&'static str, PathBuf>);

impl Folders {
    fn folder(&self, controller: &str) -> Option<&Path> {
        self.0.get(controller).map(PathBuf::as_path)
    }
}

impl Group for Folders {
    fn folders(&self) -> BTreeSet<&Path> {
        self.0.values().map(PathBuf::as_path).collect()
    }

    /// The files for threads: to move a whole process, the system waits ten milliseconds for all others.
    fn entrances(&self) -> Vec<PathBuf> {
        self.folders().into_iter().map(|folder| folder.join("tasks")).collect()
    }

    fn record(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(|(name, folder)| format!("{name} {}", folder.display())).collect();
        lines.join("\n")
    }

    fn limit(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(folder) = self.folder("memory") {
            limit_memory(folder, limits.memory)?;
        }
        if let Some(folder) = self.folder("cpu") {
            write(folder, "cpu.cfs_period_us", PERIOD)?;
            write(
                folder,
                "cpu.cfs_quota_us",
                limits.cpu_milli.map_or("-1".to_owned(), |milli| quota(milli).to_string()),
            )?;
        }
        if let Some(folder) = self.folder("pids") {
            write(folder, "pids.max", limits.pids.map_or("max".to_owned(), |pids| pids.to_string()))?;
        }
        Ok(())
    }

    fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let Some(folder) = self.folder("freezer") else {
            return Err(Error::failed("halt a box", "this machine has no freezer controller"));
        };
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        let deadline = Instant::now() + FREEZE_LIMIT;
        loop {
            // To ask again is what makes the system look again at processes that were being started.
            write(folder, STATE, wanted)?;
            let state = state(folder);
            if state == wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let _ = write(folder, STATE, "THAWED");
                return Err(Error::failed("halt a box", format!("it is still {state} after ten seconds")));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_frozen(&self) -> bool {
        self.folder("freezer").is_some_and(|folder| state(folder) == "FROZEN")
    }

    fn kill(&self) {}

    fn usage(&self) -> Usage {
        let memory = self.folder("memory").and_then(|folder| {
            let cached = keyed(folder, "memory.stat", "total_inactive_file").unwrap_or(0);
            Some(number(folder, "memory.usage_in_bytes")?.saturating_sub(cached))
        });
        Usage {
            memory,
            cpu_micros: self.folder("cpuacct").and_then(|folder| Some(number(folder, "cpuacct.usage")? / 1000)),
            pids: self.folder("pids").and_then(|folder| number(folder, "pids.current")?.try_into().ok()),
        }
    }

    fn memory_kills(&self) -> u64 {
        self.folder("memory").and_then(|folder| keyed(folder, "memory.oom_control", "oom_kill")).unwrap_or(0)
    }
}

/// Memory alone must never be allowed more than memory and swap together, so what is raised second must be the first.
fn limit_memory(folder: &Path, bytes: Option<u64>) -> Result<(), Error> {
    let wanted = bytes.map_or("-1".to_owned(), |bytes| bytes.to_string());
    let raised = bytes.is_none_or(|bytes| number(folder, MEMORY).is_none_or(|current| current < bytes));
    let mut files = vec![MEMORY];
    // A system without an account of swap has no such file.
    if folder.join(MEMORY_AND_SWAP).exists() {
        files.insert(usize::from(!raised), MEMORY_AND_SWAP);
    }
    files.into_iter().try_for_each(|file| write(folder, file, &wanted))
}

fn state(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(STATE)).unwrap_or_default().trim().to_owned()
}
