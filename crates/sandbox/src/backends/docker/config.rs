//! What a container is made from.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};
use longshore_workspace::boxd::PROXY_PORT;

use super::{
    DockerOptions,
    facts::Facts,
    layout::{ABSTRACT_SOCKET, BOX_LABEL, DEPLOYMENT_LABEL, Layout, OWN_DIR, PROGRAM, RUN_DIR, SOCKET, WORKSPACE},
    limits,
};
use crate::{Deployment, Error, Network, SandboxId, Spec, Volume};

/// What root in a box may do besides what every user may. Package managers, archives with owners and services that change
/// their user need these; nothing here reaches beyond the box. Not among them, of what engines give by default: raw
/// sockets and low ports (a box could pretend to be another one on its network), making devices, a root folder of its own,
/// file capabilities and the audit log.
const CAPABILITIES: [&str; 7] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"];

/// How the program and the folders of a box come into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// The engine is on this machine: it mounts them.
    Mounted,
    /// It is elsewhere, or sees other files or users: the program is copied, and there are no folders.
    Copied,
}

/// All that decides what a container is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) options: &'a DockerOptions,
    pub(super) layout: &'a Layout,
    pub(super) facts: &'a Facts,
    pub(super) id: SandboxId,
    pub(super) spec: &'a Spec,
    pub(super) sharing: Sharing,
    /// Whether the workspace is a volume on a folder of this machine.
    pub(super) has_volume: bool,
    /// Whether the engine is to bound what the container writes.
    pub(super) bounds_disk: bool,
}

impl Plan<'_> {
    pub(super) fn container(&self) -> Result<ContainerCreateBody, Error> {
        let Self { options, spec, .. } = self;
        Ok(ContainerCreateBody {
            image: Some(spec.image.clone().unwrap_or_else(|| options.image.clone())),
            hostname: Some("box".to_owned()),
            user: options.user.clone(),
            env: Some(environment(spec)?),
            entrypoint: Some(vec![PROGRAM.to_owned()]),
            cmd: Some(self.arguments()?),
            // Checks of the image are about what its own entry point starts, which does not run.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
            labels: Some(labels(self.deployment, self.id)),
            host_config: Some(self.host()?),
            ..ContainerCreateBody::default()
        })
    }

    fn arguments(&self) -> Result<Vec<String>, Error> {
        let Self { spec, sharing, .. } = self;
        let mut arguments: Vec<String> =
            ["boxd", "--working-dir", text(&spec.working_dir)?, "--socket", &socket(*sharing)]
                .map(str::to_owned)
                .into();
        if spec.network == Network::Proxied {
            arguments.extend(["--proxy-port".to_owned(), PROXY_PORT.to_string()]);
        }
        Ok(arguments)
    }

    fn host(&self) -> Result<HostConfig, Error> {
        let Self { options, layout, facts, spec, .. } = self;
        let limits = limits::at_start(&spec.limits, facts);
        let log = HashMap::from(
            [("max-size", "1m"), ("max-file", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        Ok(HostConfig {
            init: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            privileged: Some(false),
            runtime: options.runtime.clone(),
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            nano_cpus: limits.nano_cpus,
            pids_limit: limits.pids_limit,
            // When the machine has no more memory, boxes go before its own services.
            oom_score_adj: Some(300),
            storage_opt: spec
                .limits
                .disk
                .filter(|_| self.bounds_disk)
                .map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
            network_mode: Some(match spec.network {
                Network::Closed | Network::Proxied => "none".to_owned(),
                Network::Bridge => layout.network(),
            }),
            dns: Some(options.dns.iter().map(ToString::to_string).collect())
                .filter(|_| spec.network == Network::Bridge),
            ipc_mode: Some("private".to_owned()),
            cgroupns_mode: facts.hides_cgroups.then_some(HostConfigCgroupnsModeEnum::PRIVATE),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
            mounts: Some(self.mounts()?),
            ..HostConfig::default()
        })
    }

    fn mounts(&self) -> Result<Vec<Mount>, Error> {
        let mut mounts = Vec::new();
        if self.sharing == Sharing::Mounted {
            mounts.push(bind(text(&self.deployment.program)?, PROGRAM, true));
            mounts.push(bind(text(&self.layout.folders(self.id).run())?, RUN_DIR, false));
        }
        if self.has_volume {
            mounts.push(Mount {
                typ: Some(MountType::VOLUME),
                source: Some(self.layout.volume(self.id)),
                target: Some(WORKSPACE.to_owned()),
                ..Mount::default()
            });
        }
        for volume in &self.spec.volumes {
            mounts.push(bind(text(&volume.host)?, text(&volume.path)?, volume.read_only));
        }
        Ok(mounts)
    }
}

/// Whether a container can be made from this at all.
pub(super) fn validate(spec: &Spec) -> Result<(), Error> {
    if !spec.working_dir.is_absolute() {
        let shown = spec.working_dir.display();
        return Err(Error::Invalid(format!(
            "the working folder '{shown}' must be an absolute path, such as {WORKSPACE}"
        )));
    }
    text(&spec.working_dir)?;
    environment(spec)?;
    for volume in &spec.volumes {
        text(&volume.host)?;
        text(&volume.path)?;
        if !volume.host.is_absolute() || !volume.path.is_absolute() {
            return Err(no_volume(volume, "both must be absolute paths"));
        }
        if volume.path.starts_with(OWN_DIR) || volume.path.components().count() < 2 {
            return Err(no_volume(volume, "choose another path in the box"));
        }
    }
    Ok(())
}

/// The error for a folder that cannot be in a box.
pub(super) fn no_volume(volume: &Volume, problem: &str) -> Error {
    let (host, path) = (volume.host.display(), volume.path.display());
    Error::Invalid(format!("the folder {host} cannot be at {path} in a box: {problem}"))
}

/// Where `boxd` listens in a box.
pub(super) fn socket(sharing: Sharing) -> String {
    match sharing {
        Sharing::Mounted => format!("{RUN_DIR}/{SOCKET}"),
        Sharing::Copied => ABSTRACT_SOCKET.to_owned(),
    }
}

/// The labels of everything that belongs to a box.
pub(super) fn labels(deployment: &Deployment, id: SandboxId) -> HashMap<String, String> {
    HashMap::from([(DEPLOYMENT_LABEL.to_owned(), deployment.name.clone()), (BOX_LABEL.to_owned(), id.to_string())])
}

/// Variables as the engine wants them. Only their names are ever told.
fn environment(spec: &Spec) -> Result<Vec<String>, Error> {
    let variable = |(name, value): (&String, &String)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::Invalid(format!("'{}' cannot be the name of a variable", name.escape_debug())));
        }
        if value.contains('\0') {
            return Err(Error::Invalid(format!("the value of the variable {name} holds a zero byte")));
        }
        Ok(format!("{name}={value}"))
    };
    spec.env.iter().map(variable).collect()
}

fn bind(source: &str, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

fn text(path: &std::path::Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| Error::Invalid(format!("the path '{}' must be UTF-8", path.display())))
}
