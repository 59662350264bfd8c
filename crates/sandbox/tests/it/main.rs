//! Boxes from the outside.

mod bubblewrap;
mod egress;
mod host_cgroup;
mod host_disk;
