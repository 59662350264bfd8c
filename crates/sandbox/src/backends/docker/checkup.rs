//! What the engine can do for boxes, for people to read.

use super::{Docker, facts::Facts};
use crate::{Error, checkup::Finding};

/// The oldest runc without known ways out of a container through its own start (CVE-2025-31133 and its kin).
const SOUND_RUNC: [u32; 3] = [1, 2, 8];

/// The first engine whose own filter of system calls refuses `AF_VSOCK`.
const SOUND_ENGINE: u32 = 23;

impl Docker {
    /// What the engine can do for boxes. Makes no box.
    pub(super) async fn check_up(&self) -> Vec<Finding> {
        let facts = match self.engine.facts().await {
            Ok(facts) => facts,
            Err(Error::Unavailable { reason, .. }) => {
                let advice = "install Docker (Debian: apt-get install docker.io), or choose another backend";
                return vec![Finding::missing("engine", reason, advice)];
            }
            Err(error) => return vec![Finding::missing("engine", error.to_string(), "look at the engine's own log")],
        };
        let address = self.engine.address();
        vec![
            Finding::ok("engine", format!("version {} (API {}) at {address}", facts.version, facts.api)),
            runc(facts),
            sockets(facts),
            self.runtime(facts),
            resources(facts),
            storage(facts),
            users(facts),
            self.bridge().await,
        ]
    }

    fn runtime(&self, facts: &Facts) -> Finding {
        let mut runtimes = facts.runtimes.clone();
        runtimes.sort();
        let there = runtimes.join(", ");
        match &self.options.runtime {
            Some(runtime) if !facts.runtimes.contains(runtime) => Finding::missing(
                "runtime",
                format!("'{runtime}' is asked for, and the engine has {there}"),
                format!("add '{runtime}' to the engine's configuration, or ask for another one"),
            ),
            Some(runtime) => Finding::ok("runtime", format!("'{runtime}' is asked for and there")),
            None if facts.runtimes.iter().any(|runtime| runtime == "runsc") => Finding::ok(
                "runtime",
                format!("the engine's own choice of {there}; runsc would keep boxes off the kernel"),
            ),
            None => Finding::ok("runtime", format!("the engine's own choice of {there}")),
        }
    }

    async fn bridge(&self) -> Finding {
        match self.network.obstacle(self).await {
            None => Finding::ok("network for boxes", "the packet filter can be set"),
            Some(obstacle) => Finding::warning(
                "network for boxes",
                format!("boxes cannot have the network mode 'bridge': {obstacle}"),
                "use `allowed_hosts`, which needs nothing of this machine",
            ),
        }
    }
}

fn runc(facts: &Facts) -> Finding {
    let advice = "update runc, or whatever package of Docker or containerd brings it, to 1.2.8, 1.3.3 or newer";
    match &facts.runc {
        None => Finding::warning("runc", "the engine does not tell its version", "make sure that it is 1.2.8 or newer"),
        Some(version) if is_sound(version) => Finding::ok("runc", format!("version {version}")),
        Some(version) => Finding::warning(
            "runc",
            format!(
                "version {version} may let a hostile image out of its container (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)"
            ),
            format!("{advice}; a package with a lower number may have the fix, which its changelog tells"),
        ),
    }
}

/// Versions 1.3.0 to 1.3.2 came after 1.2.8 by number and before it by date.
fn is_sound(version: &str) -> bool {
    let numbers: Vec<u32> = version
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .take(SOUND_RUNC.len())
        .collect();
    match numbers[..] {
        [1, 3, patch] => patch >= 3,
        _ => numbers[..] >= SOUND_RUNC[..],
    }
}

/// Sockets to the machine that a virtual machine runs on have no network namespace; newer engines refuse them by themselves.
fn sockets(facts: &Facts) -> Finding {
    let major = facts.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= SOUND_ENGINE => {
            Finding::ok("sockets", "boxes make none to the machine outside of this one")
        }
        _ => Finding::warning(
            "sockets",
            format!(
                "version {} of the engine may let boxes speak to the hypervisor of this machine (AF_VSOCK)",
                facts.version
            ),
            "update Docker to 23.0 or newer, or give the engine a seccomp profile that refuses AF_VSOCK",
        ),
    }
}

fn resources(facts: &Facts) -> Finding {
    let detail = format!("control groups version {}", facts.cgroups);
    if facts.bounds_resources {
        return Finding::ok("limits", format!("memory, processors and processes are bounded by {detail}"));
    }
    Finding::warning(
        "limits",
        format!("the engine cannot bound memory, processors or processes ({detail})"),
        "run the engine as root, or give its user control groups of its own (systemd: Delegate=yes, cgroups version 2)",
    )
}

fn storage(facts: &Facts) -> Finding {
    if facts.bounds_disks {
        return Finding::ok(
            "storage",
            format!("{}: it can bound what a box writes outside of /workspace", facts.storage),
        );
    }
    Finding::warning(
        "storage",
        format!(
            "{}: it cannot bound what a box writes outside of /workspace, so the server looks from time to time",
            facts.storage
        ),
        "keep the engine's data on btrfs, or on xfs that is mounted with `pquota`",
    )
}

fn users(facts: &Facts) -> Finding {
    let kind = if facts.rootless {
        "the engine runs without root"
    } else if facts.shifts_users {
        "root in a box is an ordinary user outside"
    } else {
        return Finding::ok("users", "root in a box is root outside, with few rights");
    };
    Finding::ok("users", format!("{kind}; the program is copied into boxes, and /workspace is part of the container"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_of_runc_are_known() {
        for version in ["1.2.8", "1.3.3", "1.4.0-rc.3", "1.10.0", "2.0.0", "1.3.6+ds1"] {
            assert!(is_sound(version), "{version}");
        }
        for version in ["1.1.5+ds1", "1.2.7", "1.3.0", "1.3.2", "1.0.0-rc95", ""] {
            assert!(!is_sound(version), "{version}");
        }
    }
}
