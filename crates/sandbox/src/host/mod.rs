//! Facts of this machine that backends share: control groups, disks, processes.

pub mod cgroup;
pub mod disk;
mod end;
mod memory;
mod mounts;
mod remove;
mod tool;

pub(crate) use end::{end_all, watch_end};
pub(crate) use memory::Memory;
pub(crate) use remove::remove_tree;
