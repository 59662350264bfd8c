//! The processes of boxes, found without any record.
//!
//! The two processes of bubblewrap itself, one outside and the first inside, carry the box's name as their own: `ps`
//! shows `longshore-box:DEPLOYMENT/ID`. A process in a box could call itself so too, but only these two are alone in the
//! namespace of the server or the first in the one below. When the first inside dies, all inside do.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::{folder, users::Users};
use crate::{Limits, SandboxId, host::cgroup::Usage};

/// How often a box that starts processes all the time is looked at before it counts as halted, and the time between.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// Memory that `boxd` may take where its limit is also that of each process which it starts. It uses a few megabytes, but its
/// allocator sets a gigabyte of addresses aside.
const OWN_MEMORY: u64 = 1280 << 20;

/// The name of the processes of bubblewrap for a box.
pub(super) fn mark(deployment: &str, id: SandboxId) -> String {
    format!("longshore-box:{deployment}/{id}")
}

/// A process of bubblewrap itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marked {
    pub(super) id: SandboxId,
    pub(super) pid: Pid,
    /// Whether it is the first process inside, and not the one outside.
    pub(super) is_init: bool,
}

/// The processes of bubblewrap for the boxes of a deployment.
pub(super) fn marked(deployment: &str, users: &Users) -> Vec<Marked> {
    let prefix = format!("longshore-box:{deployment}/");
    pids()
        .filter_map(|pid| {
            let id = folder::id(name(pid)?.strip_prefix(&prefix)?)?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let user = field("Uid")?.split_whitespace().next()?.parse().ok()?;
            let numbers: Vec<_> = field("NSpid")?.split_whitespace().collect();
            let is_init = match numbers.as_slice() {
                [_] => false,
                [_, "1"] => true,
                _ => return None,
            };
            users.contains(user).then_some(Marked { id, pid: Pid::from_raw(pid)?, is_init })
        })
        .collect()
}

/// A box's processes, from the first one inside on.
#[derive(Debug)]
pub(super) struct Tree(Vec<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    pid: Pid,
    parent: i32,
    halted: bool,
    dead: bool,
    ticks: u64,
    threads: u32,
    pages: u64,
}

impl Tree {
    /// The processes that descend from `init`; it inherits those whose parents have ended.
    pub(super) fn of(init: Pid) -> Self {
        let mut all: BTreeMap<i32, Facts> = pids().filter_map(|pid| Some((pid, facts(pid)?))).collect();
        let mut tree: Vec<_> = all.remove(&init.as_raw_nonzero().get()).into_iter().collect();
        let mut next = 0;
        while let Some(parent) = tree.get(next).map(|facts| facts.pid.as_raw_nonzero().get()) {
            tree.extend(all.extract_if(.., |_, facts| facts.parent == parent).map(|(_, facts)| facts));
            next += 1;
        }
        Self(tree)
    }

    /// Whether the first one inside is halted, which only this server can do.
    pub(super) fn is_halted(&self) -> bool {
        self.0.first().is_some_and(|init| init.halted)
    }

    /// What they use.
    pub(super) fn usage(&self) -> Usage {
        let tick = rustix::param::clock_ticks_per_second().max(1);
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Usage {
            memory: Some(self.0.iter().map(|facts| facts.pages * page).sum()),
            cpu_micros: Some(self.0.iter().map(|facts| facts.ticks * 1_000_000 / tick).sum()),
            pids: Some(self.0.iter().map(|facts| facts.threads).sum()),
        }
    }

    /// What stands in for a control group: memory for each process alone, and the number of processes.
    pub(super) fn limit(&self, limits: &Limits) {
        let memory = limits.memory.map(|bytes| bytes.saturating_add(OWN_MEMORY));
        let pids = limits.pids.map(u64::from);
        for (resource, limit) in [(Resource::Data, memory), (Resource::Nproc, pids)] {
            for facts in self.0.iter().skip(1) {
                // A limit that is lower already stays, and a process that has ended needs none.
                let _ = prlimit(Some(facts.pid), resource, Rlimit { current: limit, maximum: limit });
            }
        }
    }
}

/// Halts all processes from `init` on, or lets them go on. One that waits for a disk halts when the disk answers.
pub(super) fn halt(init: Pid, halted: bool) {
    let signal = if halted { Signal::STOP } else { Signal::CONT };
    for _ in 0..ROUNDS {
        // What a process starts before it halts is found by the next round.
        let others: Vec<_> =
            Tree::of(init).0.into_iter().filter(|facts| !facts.dead && facts.halted != halted).collect();
        if others.is_empty() {
            return;
        }
        for facts in others {
            let _ = rustix::process::kill_process(facts.pid, signal);
        }
        thread::sleep(PAUSE);
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

/// What a process calls itself, as far as it can be a mark.
fn name(pid: i32) -> Option<String> {
    let mut start = Vec::with_capacity(128);
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(128).read_to_end(&mut start).ok()?;
    let end = start.iter().position(|byte| *byte == 0)?;
    start.truncate(end);
    String::from_utf8(start).ok()
}

fn facts(pid: i32) -> Option<Facts> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let fields: Vec<_> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Facts {
        pid: Pid::from_raw(pid)?,
        parent: fields.get(1)?.parse().ok()?,
        halted: matches!(*fields.first()?, "T" | "t"),
        dead: matches!(*fields.first()?, "Z" | "X"),
        ticks: (11..15).map(|at| number(at).unwrap_or(0)).sum(),
        threads: u32::try_from(number(17)?).ok()?,
        pages: number(21)?,
    })
}
