//! Boxes from the outside.

mod bubblewrap;
mod host_cgroup;
mod host_disk;
