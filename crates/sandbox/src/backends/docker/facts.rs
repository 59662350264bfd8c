//! What is known about an engine.

use bollard::models::{SystemInfo, SystemVersion};

use super::engine::{Engine, lacks};
use crate::Error;

/// The oldest protocol that has all that is used here: the one of Docker 20.10.
const OLDEST_API: (u32, u32) = (1, 41);

/// What is known about an engine.
#[derive(Debug)]
pub(super) struct Facts {
    /// Its version.
    pub(super) version: String,
    /// The version of its protocol.
    pub(super) api: String,
    /// The version of the program that starts containers, if it is runc and says so.
    pub(super) runc: Option<String>,
    /// How it stores images and containers.
    pub(super) storage: String,
    /// Whether that storage can bound what a container writes.
    pub(super) bounds_disks: bool,
    /// The names of the runtimes that it has.
    pub(super) runtimes: Vec<String>,
    /// `1` or `2`.
    pub(super) cgroups: String,
    /// Whether it bounds memory, processors and processes.
    pub(super) bounds_resources: bool,
    /// Whether it runs without root, so that limits and firewall are out of its reach.
    pub(super) rootless: bool,
    /// Whether users in containers are others outside, so that folders of this machine do not fit.
    pub(super) shifts_users: bool,
    /// Whether containers may only see files with a label.
    pub(super) labels_files: bool,
    /// Whether containers can have a view of control groups of their own.
    pub(super) hides_cgroups: bool,
    /// Processors of its machine.
    pub(super) processors: u32,
    /// Bytes of memory of its machine.
    pub(super) memory: u64,
}

impl Facts {
    /// Asks an engine.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not answer, is too old, or runs containers of another system.
    pub(super) async fn ask(engine: &Engine) -> Result<Self, Error> {
        let client = engine.client().await?;
        let failed = |refusal| engine.failed("ask the Docker engine about itself", refusal);
        let version = client.version().await.map_err(failed)?;
        let info = client.info().await.map_err(failed)?;
        let facts = Self::from(&version, &info);

        if let Some(os) = info.os_type.filter(|os| os != "linux") {
            return Err(lacks(format!("the engine at {} runs {os} containers: boxes need Linux", engine.address())));
        }
        let api: Vec<u32> = facts.api.split('.').filter_map(|part| part.parse().ok()).collect();
        if let [major, minor] = api[..]
            && (major, minor) < OLDEST_API
        {
            let reason = format!(
                "the engine at {} is too old (version {}, API {}): version 20.10 (API 1.41) or newer is needed",
                engine.address(),
                facts.version,
                facts.api,
            );
            return Err(lacks(reason));
        }
        Ok(facts)
    }

    fn from(version: &SystemVersion, info: &SystemInfo) -> Self {
        let security = info.security_options.clone().unwrap_or_default();
        let has =
            |name: &str| security.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")));
        let status = |key: &str| {
            let rows = info.driver_status.iter().flatten();
            rows.filter(|row| row.len() == 2).find(|row| row[0] == key).map(|row| row[1].clone())
        };
        let storage = info.driver.clone().unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Self {
            version: version.version.clone().unwrap_or_else(unknown),
            api: version.api_version.clone().unwrap_or_else(unknown),
            runc: runc_version(version),
            bounds_disks: match storage.as_str() {
                "btrfs" | "zfs" => true,
                // On xfs only with project quotas, which the engine does not tell about; its refusal says so later.
                "overlay2" => status("Backing Filesystem").is_some_and(|name| name == "xfs"),
                _ => false,
            },
            storage,
            runtimes: info.runtimes.iter().flatten().map(|(name, _)| name.clone()).collect(),
            cgroups: info.cgroup_version.map_or_else(unknown, |version| version.to_string()),
            bounds_resources: [info.memory_limit, info.cpu_cfs_quota, info.pids_limit]
                .iter()
                .all(|ability| *ability == Some(true)),
            rootless: has("rootless"),
            shifts_users: has("userns") || has("rootless"),
            labels_files: has("selinux"),
            hides_cgroups: has("cgroupns"),
            processors: info.ncpu.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        }
    }
}

/// The component that is not the engine, containerd or the init program is the one that starts containers; it is listed
/// under the name it has in the engine's configuration.
fn runc_version(version: &SystemVersion) -> Option<String> {
    let components = version.components.as_ref()?;
    let others = ["Engine", "Podman Engine", "Conmon", "containerd", "docker-init", "rootlesskit", "slirp4netns"];
    let runtime = components.iter().find(|component| !others.contains(&component.name.as_str()))?;
    let text = runtime.version.trim_start_matches("runc version ").trim();
    text.starts_with(|first: char| first.is_ascii_digit()).then(|| text.to_owned())
}
