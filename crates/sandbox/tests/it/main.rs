//! Boxes from the outside.

mod egress;
mod bubblewrap;
mod host_cgroup;
mod host_disk;
