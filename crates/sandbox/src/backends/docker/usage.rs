//! What a box uses.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use bollard::{models::ContainerStatsResponse, query_parameters::StatsOptionsBuilder};
use futures::StreamExt;

use super::{Docker, blocking, disk::workspace_usage, engine::is_missing, layout::WORKSPACE, state::State};
use crate::{Error, Running, SandboxId, Stats, host::disk::folder_bytes};

/// How long files in volumes of images are counted at first.
const COUNT_LIMIT: Duration = Duration::from_secs(2);

impl Docker {
    /// What a box uses now.
    pub(super) async fn usage(&self, id: SandboxId) -> Result<Stats, Error> {
        let (state, resources) = tokio::join!(self.state_with_size(id), self.resources(id));
        let state = state?.ok_or_else(|| gone("it has no container"))?;
        let resources = resources?.filter(|_| state.running != Running::No);

        let written = state.container.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
        let volumes = self.volumes(id, &state).await?;
        let memory = resources.as_ref().and_then(memory);
        let cpu = resources.as_ref().and_then(|stats| stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage);
        let pids = resources.as_ref().and_then(|stats| stats.pids_stats.as_ref()?.current);
        Ok(Stats {
            memory,
            cpu_micros: cpu.map(|nanos| nanos / 1000),
            pids: pids.and_then(|count| u32::try_from(count).ok()),
            disk: written.map(|bytes| bytes.saturating_add(volumes)),
            disk_is_enforced: state.bounds_disk
                && !state.has_own_volumes
                && (!state.has_volume || self.layout.folders(id).disk().exists()),
        })
    }

    async fn resources(&self, id: SandboxId) -> Result<Option<ContainerStatsResponse>, Error> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let client = self.engine.client().await?;
        match client.stats(&self.layout.container(id), Some(options)).boxed().next().await {
            None => Ok(None),
            Some(Ok(stats)) => Ok(Some(stats)),
            Some(Err(refusal)) if is_missing(&refusal) => Err(gone("it has no container")),
            Some(Err(refusal)) => Err(self.engine.failed("ask what the box uses", refusal)),
        }
    }

    /// What a box takes beside its container: the workspace, the volumes that the image asks for, the folder of the socket where
    /// it has no file system of its own, and the files that the engine makes for names. On another machine they cannot be
    /// measured, and there the workspace is no volume.
    async fn volumes(&self, id: SandboxId, state: &State) -> Result<u64, Error> {
        let mounts = state.container.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume"));
        let others = mounts.filter(|mount| mount.destination.as_deref() != Some(WORKSPACE));
        let mut others: Vec<PathBuf> = others.filter_map(|mount| mount.source.as_ref().map(PathBuf::from)).collect();
        let container = &state.container;
        let files = [&container.hosts_path, &container.hostname_path, &container.resolv_conf_path];
        let files: Vec<PathBuf> = files.into_iter().flatten().map(PathBuf::from).collect();
        let folders = self.layout.folders(id);
        let workspace = state.has_volume.then(|| folders.clone());
        others.extend(Some(folders.run()).filter(|_| !folders.memory().is_mounted()));
        blocking(move || {
            let workspace = workspace.map_or(Ok(0), |folders| workspace_usage(&folders))?;
            let files = files.iter().filter_map(|path| Some(fs::symlink_metadata(path).ok()?.blocks() * 512));
            let others = others.iter().filter_map(|path| folder_bytes(path, COUNT_LIMIT).ok());
            Ok(files.chain(others).fold(workspace, u64::saturating_add))
        })
        .await
    }
}

/// What programs use: pages that only keep files near are given back when somebody needs them.
fn memory(stats: &ContainerStatsResponse) -> Option<u64> {
    let memory = stats.memory_stats.as_ref()?;
    let details = memory.stats.as_ref();
    let cache = details.and_then(|details| details.get("total_inactive_file").or_else(|| details.get("inactive_file")));
    Some(memory.usage?.saturating_sub(cache.copied().unwrap_or(0)))
}

fn gone(why: &str) -> Error {
    Error::Gone(why.to_owned())
}
