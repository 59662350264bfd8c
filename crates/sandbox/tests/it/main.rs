//! Boxes from the outside.

mod bubblewrap;
mod bubblewrap_deaths;
mod bubblewrap_limits;
mod bubblewrap_support;
mod bubblewrap_walls;
mod docker;
mod docker_bridge;
mod docker_deaths;
mod docker_engines;
mod docker_images;
mod docker_limits;
mod docker_neighbour;
mod docker_support;
mod docker_walls;
mod egress;
mod host_cgroup;
mod host_disk;
mod lifecycle;
