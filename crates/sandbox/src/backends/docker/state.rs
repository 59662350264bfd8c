//! What a container is doing, and how it ended.

use bollard::{
    models::{ContainerInspectResponse, ContainerStateStatusEnum as Status},
    query_parameters::{InspectContainerOptions, InspectContainerOptionsBuilder},
};
use longshore_protocol::sandbox::ByteSize;

use super::{Docker, engine::is_missing, layout::WORKSPACE};
use crate::{Error, Running, SandboxId};

/// What a container is doing.
#[derive(Debug)]
pub(super) struct State {
    /// Whether its processes run.
    pub(super) running: Running,
    /// Whether they ever did.
    pub(super) was_started: bool,
    /// Whether it is on the network that boxes share.
    pub(super) has_network: bool,
    /// Whether the engine bounds what it writes.
    pub(super) bounds_disk: bool,
    /// Whether its workspace is a volume.
    pub(super) has_volume: bool,
    /// Whether it has other volumes, which its image asks for and nothing bounds.
    pub(super) has_own_volumes: bool,
    /// The container as the engine describes it.
    pub(super) container: ContainerInspectResponse,
}

impl Docker {
    /// What a box's container is doing; nothing if there is none.
    pub(super) async fn state(&self, id: SandboxId) -> Result<Option<State>, Error> {
        self.inspect(id, false).await.map(|container| container.map(State::new))
    }

    /// As [`Docker::state`], with what its files take.
    pub(super) async fn state_with_size(&self, id: SandboxId) -> Result<Option<State>, Error> {
        self.inspect(id, true).await.map(|container| container.map(State::new))
    }

    async fn inspect(&self, id: SandboxId, size: bool) -> Result<Option<ContainerInspectResponse>, Error> {
        let options: InspectContainerOptions = InspectContainerOptionsBuilder::default().size(size).build();
        match self.engine.client().await?.inspect_container(&self.layout.container(id), Some(options)).await {
            Ok(container) => Ok(Some(container)),
            Err(refusal) if is_missing(&refusal) => Ok(None),
            Err(refusal) => Err(self.engine.failed("look at the box's container", refusal)),
        }
    }
}

impl State {
    fn new(container: ContainerInspectResponse) -> Self {
        let state = container.state.as_ref();
        let host = container.host_config.as_ref();
        let network = host.and_then(|host| host.network_mode.as_deref());
        Self {
            running: match state.and_then(|state| state.status) {
                Some(Status::RUNNING | Status::RESTARTING | Status::STOPPING) => Running::Yes,
                Some(Status::PAUSED) => Running::Paused,
                _ => Running::No,
            },
            was_started: state
                .and_then(|state| state.started_at.as_deref())
                .is_some_and(|time| !time.starts_with("0001-")),
            has_network: network.is_some_and(|network| network != "none"),
            bounds_disk: host
                .and_then(|host| host.storage_opt.as_ref())
                .is_some_and(|options| options.contains_key("size")),
            has_volume: container.mounts.iter().flatten().any(|mount| mount.destination.as_deref() == Some(WORKSPACE)),
            has_own_volumes: container
                .mounts
                .iter()
                .flatten()
                .any(|mount| mount.typ.as_deref() == Some("volume") && mount.destination.as_deref() != Some(WORKSPACE)),
            container,
        }
    }

    /// Why it ended, in words.
    pub(super) fn reason(&self) -> String {
        let Some(state) = &self.container.state else { return "its container ended".to_owned() };
        if matches!(state.status, Some(Status::REMOVING | Status::DEAD)) {
            return REMOVED.to_owned();
        }
        let code = state.exit_code.unwrap_or(0);
        let mut reason = match code {
            137 if state.oom_killed == Some(true) => {
                let limit = self.container.host_config.as_ref().and_then(|host| host.memory);
                match limit.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0) {
                    Some(bytes) => format!("it used more memory than its limit of {}", ByteSize(bytes)),
                    None => "the machine ran out of memory".to_owned(),
                }
            }
            // Shells and init programs tell of signals this way.
            129..=192 => format!("its first process was ended by signal {}", code - 128),
            _ => format!("its first process ended with exit code {code}"),
        };
        if let Some(error) = state.error.as_deref().filter(|error| !error.is_empty()) {
            reason = format!("{reason} ({error})");
        }
        reason
    }
}

/// Why a box ended whose container is not there any more.
pub(super) const REMOVED: &str = "its container was removed by somebody else";
