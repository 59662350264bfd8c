//! What a box may use, as the engine says it.

use bollard::models::ContainerUpdateBody;

use super::facts::Facts;
use crate::Limits;

/// What is in a container besides what its user starts, and which the limit leaves out: the engine's first process, and what
/// carries a stream.
const OWN_PROCESSES: i64 = 4;
/// The processes and threads of a box without a limit: those of all boxes are numbers of the one machine, and a program that
/// only starts itself must not take them all.
const USUAL_PROCESSES: u32 = 4096;

/// The limits of a container; nothing means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContainerLimits {
    pub(super) memory: Option<i64>,
    pub(super) memory_swap: Option<i64>,
    pub(super) nano_cpus: Option<i64>,
    pub(super) pids_limit: Option<i64>,
}

/// For a container that is made.
pub(super) fn at_start(limits: &Limits, facts: &Facts) -> ContainerLimits {
    let memory = limits.memory.map(signed);
    ContainerLimits {
        memory,
        // The sum of both: no swap.
        memory_swap: memory,
        // The engine refuses more processors than there are.
        nano_cpus: limits.cpu_milli.map(|milli| nano(milli.min(facts.processors.saturating_mul(1000)))),
        pids_limit: Some(i64::from(limits.pids.unwrap_or(USUAL_PROCESSES)) + OWN_PROCESSES),
    }
}

/// For a container that is there. To the engine nothing means that all stays as it is, so what has no limit gets the size of
/// the machine.
pub(super) fn later(limits: &Limits, facts: &Facts) -> ContainerUpdateBody {
    let memory = limits.memory.or(Some(facts.memory));
    let cpu_milli = limits.cpu_milli.or(Some(u32::MAX));
    let bounded = at_start(&Limits { memory, cpu_milli, ..*limits }, facts);
    ContainerUpdateBody {
        memory: bounded.memory,
        memory_swap: bounded.memory_swap,
        nano_cpus: bounded.nano_cpus,
        pids_limit: bounded.pids_limit,
        ..ContainerUpdateBody::default()
    }
}

fn nano(milli: u32) -> i64 {
    i64::from(milli) * 1_000_000
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
