//! Finding boxes again: by their containers, volumes and folders.

use std::collections::{BTreeMap, HashMap};

use bollard::{
    models::ContainerSummaryStateEnum as State,
    query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder},
};

use super::{
    Docker, blocking,
    layout::{BOX_LABEL, DEPLOYMENT_LABEL, boxes},
};
use crate::{Error, Found, Running, SandboxId, host::disk::Disk};

impl Docker {
    /// All boxes of this deployment, also those of which only a part is left.
    pub(super) async fn find(&self) -> Result<Vec<Found>, Error> {
        let client = self.engine.client().await?;
        let failed = |refusal| self.engine.failed("list the boxes", refusal);
        let label = format!("{DEPLOYMENT_LABEL}={}", self.deployment.name);
        let filters = HashMap::from([("label", vec![label.as_str()])]);

        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let containers = client.list_containers(Some(options)).await.map_err(failed)?;
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let volumes = client.list_volumes(Some(options)).await.map_err(failed)?;
        let dir = self.layout.dir();
        let folders = blocking(move || {
            Disk::clear_trial(&dir)?;
            boxes(&dir).map_err(|cause| Error::failed("list the folders of boxes", cause))
        });
        let folders = folders.await?;

        let volumes = volumes.volumes.unwrap_or_default();
        let parts = volumes.iter().filter_map(|volume| box_of(&volume.labels)).chain(folders);
        let mut found: BTreeMap<SandboxId, Running> = parts.map(|id| (id, Running::No)).collect();
        for container in containers {
            let running = match container.state {
                Some(State::RUNNING | State::RESTARTING | State::STOPPING) => Running::Yes,
                Some(State::PAUSED) => Running::Paused,
                _ => Running::No,
            };
            found.extend(container.labels.as_ref().and_then(box_of).map(|id| (id, running)));
        }
        Ok(found.into_iter().map(|(id, running)| Found { id, running }).collect())
    }
}

fn box_of(labels: &HashMap<String, String>) -> Option<SandboxId> {
    labels.get(BOX_LABEL)?.parse().ok()
}
