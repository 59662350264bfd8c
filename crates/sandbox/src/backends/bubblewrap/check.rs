//! What this machine can do for boxes of bubblewrap.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use super::boxes::Boxes;
use crate::{Error, Finding, Limits, Network, Spec, host::cgroup::Cgroups};

/// The oldest version that has every option that is used.
const OLDEST: (u32, u32) = (0, 8);

/// What no box can do without.
pub(super) fn essentials(boxes: &Boxes) -> Vec<Finding> {
    vec![bubblewrap(&boxes.bubblewrap), program(&boxes.deployment.program)]
}

/// What makes boxes better.
pub(super) fn extras(boxes: &Boxes) -> Vec<Finding> {
    vec![user(), control_groups(boxes.find_cgroups()), disks(boxes.try_disks())]
}

/// What came of making a box.
pub(super) fn of_trial(tried: Result<(), Error>) -> Finding {
    const SUBJECT: &str = "box";
    match tried {
        Ok(()) => Finding::ok(SUBJECT, "one was made, started and removed"),
        Err(cause) => {
            let cause = cause.to_string();
            let namespaces = ["namespace", "uid map", "Operation not permitted", "Permission denied"];
            let advice = if namespaces.iter().any(|word| cause.contains(word)) {
                "allow user namespaces: sysctl user.max_user_namespaces=15000, and where they exist \
                 kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0; in a container, \
                 run it with a seccomp profile that allows unshare and mount, and with /proc unmasked"
            } else {
                "see the log of the server"
            };
            Finding::missing(SUBJECT, cause, advice)
        }
    }
}

/// The box that is tried.
pub(super) fn trial() -> Spec {
    Spec {
        image: None,
        limits: Limits::default(),
        network: Network::Closed,
        env: BTreeMap::new(),
        working_dir: "/workspace".into(),
        volumes: Vec::new(),
        timeout: None,
    }
}

fn bubblewrap(path: &Path) -> Finding {
    const SUBJECT: &str = "bubblewrap";
    const INSTALL: &str = "install the package bubblewrap, 0.8 or later";
    let Ok(facts) = path.metadata() else {
        return Finding::missing(SUBJECT, format!("there is no program {}", path.display()), INSTALL);
    };
    if facts.permissions().mode() & 0o4000 != 0 {
        return Finding::missing(
            SUBJECT,
            format!(
                "{} becomes root for everybody who runs it, and then cannot turn off namespaces in boxes",
                path.display()
            ),
            format!("chmod u-s {}, and allow user namespaces for ordinary users", path.display()),
        );
    }
    let said = match Command::new(path).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(cause) => return Finding::missing(SUBJECT, format!("{} does not run: {cause}", path.display()), INSTALL),
    };
    let mut numbers = said.rsplit(' ').next().unwrap_or_default().split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            Finding::ok(SUBJECT, format!("{said} at {}", path.display()))
        }
        _ => Finding::missing(SUBJECT, format!("{} says it is '{said}'", path.display()), INSTALL),
    }
}

fn user() -> Finding {
    const SUBJECT: &str = "user";
    if rustix::process::geteuid().is_root() {
        Finding::ok(SUBJECT, "root: every box is a user of its own")
    } else {
        Finding::warning(
            SUBJECT,
            "an ordinary user: all boxes are the same user as the server",
            "run the server as root, so that a box which breaks out of its namespaces can touch nothing",
        )
    }
}

fn control_groups(found: &Result<Cgroups, String>) -> Finding {
    const SUBJECT: &str = "control groups";
    let missing = match found {
        Ok(cgroups) => cgroups.missing(),
        Err(reason) => {
            let advice =
                "without them, limits of memory and processes hold for each process alone, and none of processor time";
            return Finding::warning(SUBJECT, reason, advice);
        }
    };
    let version = found.as_ref().map_or(0, Cgroups::version);
    if missing.is_empty() {
        return Finding::ok(SUBJECT, format!("version {version}, with memory, cpu and pids"));
    }
    let detail = format!("version {version}, without {}", missing.join(", "));
    Finding::warning(SUBJECT, detail, "delegate these controllers to the server")
}

fn disks(tried: &Result<(), String>) -> Finding {
    const SUBJECT: &str = "disk limits";
    match tried {
        Ok(()) => Finding::ok(SUBJECT, "a disk was made, mounted and removed"),
        Err(reason) => {
            let advice = "without them, the server measures what boxes have written and stops one that has too much";
            Finding::warning(SUBJECT, reason, advice)
        }
    }
}

fn program(path: &Path) -> Finding {
    const SUBJECT: &str = "program";
    match path.metadata() {
        Ok(facts) if facts.is_file() && facts.permissions().mode() & 0o001 != 0 => {
            Finding::ok(SUBJECT, path.display().to_string())
        }
        Ok(_) => Finding::missing(
            SUBJECT,
            format!("{} is no program that everybody may run", path.display()),
            format!("chmod 755 {}", path.display()),
        ),
        Err(cause) => Finding::missing(SUBJECT, format!("{}: {cause}", path.display()), "install longshore as a whole"),
    }
}
