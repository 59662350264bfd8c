//! Version 2: one tree.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Group, MEMBERS, PERIOD, Usage, keyed, number, quota, write};
use crate::{Error, Limits};

/// What stands in a record for the one tree.
pub(super) const NAME: &str = "unified";

/// What a box needs.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// How long processes may take to halt.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// The folder of a group.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    fn value(limit: Option<impl ToString>) -> String {
        limit.map_or("max".to_owned(), |limit| limit.to_string())
    }
}

impl Group for Folder {
    fn folders(&self) -> BTreeSet<&Path> {
        [self.0.as_path()].into()
    }

    fn entrances(&self) -> Vec<PathBuf> {
        vec![self.0.join(MEMBERS)]
    }

    fn record(&self) -> String {
        format!("{NAME} {}", self.0.display())
    }

    fn limit(&self, limits: &Limits) -> Result<(), Error> {
        let Self(folder) = self;
        // A controller that is not delegated has no files.
        if self.has("memory.max") {
            write(folder, "memory.max", Self::value(limits.memory))?;
        }
        if self.has("memory.swap.max") {
            // The limit holds for both together: with memory limited there is no swap.
            write(folder, "memory.swap.max", Self::value(limits.memory.map(|_| 0)))?;
        }
        if self.has("cpu.max") {
            write(folder, "cpu.max", format_args!("{} {PERIOD}", Self::value(limits.cpu_milli.map(quota))))?;
        }
        if self.has("pids.max") {
            write(folder, "pids.max", Self::value(limits.pids))?;
        }
        Ok(())
    }

    fn freeze(&self, frozen: bool) -> Result<(), Error> {
        write(&self.0, "cgroup.freeze", u8::from(frozen))?;
        let deadline = Instant::now() + FREEZE_LIMIT;
        while self.is_frozen() != frozen {
            if Instant::now() >= deadline {
                let _ = write(&self.0, "cgroup.freeze", 0);
                return Err(Error::failed("halt a box", "it still runs after ten seconds"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_frozen(&self) -> bool {
        keyed(&self.0, "cgroup.events", "frozen") == Some(1)
    }

    fn kill(&self) {
        // Systems before 5.14 have no such file; then the processes are killed one by one.
        let _ = write(&self.0, "cgroup.kill", 1);
    }

    fn usage(&self) -> Usage {
        let Self(folder) = self;
        let cached = keyed(folder, "memory.stat", "inactive_file").unwrap_or(0);
        Usage {
            memory: number(folder, "memory.current").map(|bytes| bytes.saturating_sub(cached)),
            cpu_micros: keyed(folder, "cpu.stat", "usage_usec"),
            pids: number(folder, "pids.current").and_then(|count| count.try_into().ok()),
        }
    }

    fn memory_kills(&self) -> u64 {
        keyed(&self.0, "memory.events", "oom_kill").unwrap_or(0)
    }
}
