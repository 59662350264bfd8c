//! Making containers.

use bollard::{
    body_try_stream,
    errors::Error as Refusal,
    models::VolumeCreateRequest,
    query_parameters::{
        ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};

use super::{
    Docker, archive,
    config::{self, Plan, Sharing},
    engine::{is_conflict, is_missing, message},
    image,
    layout::{OWN_DIR, PROGRAM, WORKSPACE},
};
use crate::{Error, Network, SandboxId, Spec};

/// What to do after a container could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Done,
}

/// Whether a folder of the operator's takes the place of the box's own.
fn brings_workspace(spec: &Spec) -> bool {
    spec.volumes.iter().any(|volume| volume.path == std::path::Path::new(WORKSPACE))
}

impl Docker {
    /// Makes a box that does not run yet.
    pub(super) async fn make(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        let facts = self.engine.facts().await?;
        image::allow(spec.image.as_deref(), &self.options)?;
        config::validate(spec)?;
        if spec.network == Network::Bridge {
            self.network.ensure(self).await?;
        }
        // Each turn rules out one thing that the engine does not offer.
        loop {
            let sharing = self.sharing(facts);
            self.check_volumes(spec, sharing)?;
            let plan = Plan {
                deployment: &self.deployment,
                options: &self.options,
                layout: &self.layout,
                facts,
                id,
                spec,
                sharing,
                has_volume: sharing == Sharing::Mounted
                    && rustix::process::geteuid().is_root()
                    && !brings_workspace(spec),
                bounds_disk: facts.bounds_disks && !self.learned.lock().no_quota,
            };
            if sharing == Sharing::Mounted {
                self.make_folders(id, spec.limits.disk).await?;
            }
            if plan.has_volume {
                self.make_volume(id).await?;
            }
            let options = CreateContainerOptionsBuilder::default().name(&self.layout.container(id)).build();
            let made = self.engine.client().await?.create_container(Some(options), plan.container()?).await;
            let Err(refusal) = made else { return self.furnish(&plan).await };
            if self.learn(&plan, refusal).await? == Next::Done {
                return Ok(());
            }
        }
    }

    /// Takes from a refusal what to do otherwise, or fails.
    async fn learn(&self, plan: &Plan<'_>, refusal: Refusal) -> Result<Next, Error> {
        let text = message(&refusal);
        let lacks = |path: &std::path::Path| {
            path.to_str().is_some_and(|path| text.contains(path))
                && ["does not exist", "no such file"].iter().any(|words| text.to_lowercase().contains(words))
        };
        if is_conflict(&refusal) {
            // Somebody has made it before. If it never ran, that may have been broken off halfway.
            if self.state(plan.id).await?.is_some_and(|state| state.was_started) {
                return Ok(Next::Done);
            }
            self.remove_container(plan.id).await?;
            return Ok(Next::Again);
        }
        let folders = self.layout.folders(plan.id);
        let seen_by_us =
            folders.memory().is_mounted() && lacks(&folders.run()) || plan.has_volume && lacks(&folders.workspace());
        if seen_by_us && !lacks(&self.deployment.program) && !self.learned.lock().sees_no_mounts {
            // What is mounted there is only seen by this process and its like.
            self.learned.lock().sees_no_mounts = true;
            self.remove_volume(plan.id).await?;
            self.remove_folders(plan.id).await?;
            return Ok(Next::Again);
        }
        if plan.sharing == Sharing::Mounted && (lacks(&self.deployment.program) || lacks(&folders.run())) {
            // The folder has a name that no other machine has: this engine has other files.
            self.learned.lock().must_copy = true;
            self.remove_volume(plan.id).await?;
            self.remove_folders(plan.id).await?;
            return Ok(Next::Again);
        }
        if plan.bounds_disk && exceeds_quota(&text) {
            return Err(Error::Invalid(
                "the disk limit is less than the image takes by itself: ask for more, or choose a smaller image"
                    .to_owned(),
            ));
        }
        if plan.bounds_disk && lacks_quotas(&text) {
            tracing::warn!(reason = text, "the engine cannot bound what boxes write outside of /workspace");
            self.learned.lock().no_quota = true;
            return Ok(Next::Again);
        }
        if let Some(volume) = plan.spec.volumes.iter().find(|volume| lacks(&volume.host)) {
            return Err(Error::Invalid(format!("the folder {} is not on the engine's machine", volume.host.display())));
        }
        if is_missing(&refusal) {
            let image = plan.spec.image.as_deref().unwrap_or(&self.options.image);
            return Err(Error::failed("make the box's container", format!("the image {image} is not there: {text}")));
        }
        Err(self.engine.failed("make the box's container", refusal))
    }

    /// Puts into a container what is not mounted.
    async fn furnish(&self, plan: &Plan<'_>) -> Result<(), Error> {
        let needs_program = plan.sharing == Sharing::Copied;
        let needs_workspace =
            !plan.has_volume && !brings_workspace(plan.spec) && !self.has_path(plan.id, WORKSPACE).await?;
        if !needs_program && !needs_workspace {
            return Ok(());
        }
        let program = self.deployment.program.clone();
        let content = archive::stream(move |archive| {
            if needs_program {
                archive::add_dir(archive, relative(OWN_DIR), 0o755)?;
                archive::add_file(archive, relative(PROGRAM), &program)?;
            }
            if needs_workspace {
                archive::add_dir(archive, relative(WORKSPACE), 0o777)?;
            }
            Ok(())
        });
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let client = self.engine.client().await?;
        client
            .upload_to_container(&self.layout.container(plan.id), Some(options), body_try_stream(content))
            .await
            .map_err(|refusal| self.engine.failed("copy the program into the box", refusal))
    }

    /// Whether the operator's folders can be in a box.
    fn check_volumes(&self, spec: &Spec, sharing: Sharing) -> Result<(), Error> {
        for volume in &spec.volumes {
            let problem = if sharing == Sharing::Copied {
                "the engine does not see the folders of this machine; use one that runs here, as root and without users of its own"
            } else if self.engine.listens_below(&volume.host) {
                "the socket of the engine is in that folder, and whoever reaches it rules the machine; name a folder without it"
            } else {
                continue;
            };
            return Err(config::no_volume(volume, problem));
        }
        Ok(())
    }

    async fn has_path(&self, id: SandboxId, path: &str) -> Result<bool, Error> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        match self.engine.client().await?.get_container_archive_info(&self.layout.container(id), Some(options)).await {
            Ok(_) => Ok(true),
            Err(refusal) if is_missing(&refusal) => Ok(false),
            Err(refusal) => Err(self.engine.failed("look into the box's image", refusal)),
        }
    }

    /// A volume that is a folder of this machine. Unlike the bare folder, an engine fills it with what the image has there.
    async fn make_volume(&self, id: SandboxId) -> Result<(), Error> {
        let device = self.layout.folders(id).workspace().to_string_lossy().into_owned();
        let options = [("type", "none"), ("o", "bind"), ("device", &device)];
        let request = VolumeCreateRequest {
            name: Some(self.layout.volume(id)),
            driver: Some("local".to_owned()),
            driver_opts: Some(options.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            labels: Some(config::labels(&self.deployment, id)),
            cluster_volume_spec: None,
        };
        let made = self.engine.client().await?.create_volume(request).await;
        made.map(drop).map_err(|refusal| self.engine.failed("make the box's volume", refusal))
    }
}

/// Whether a box would be full before anything is written in it.
fn exceeds_quota(refusal: &str) -> bool {
    let refusal = refusal.to_lowercase();
    ["quota exceeded", "quota limit exceeded", "out of quota"].iter().any(|words| refusal.contains(words))
}

/// Whether the engine says that its storage has no quotas: it names the option and refuses it, whatever its value.
fn lacks_quotas(refusal: &str) -> bool {
    let refusal = refusal.to_lowercase();
    let words = ["supported only for", "not supported", "unsupported", "unknown option", "pquota"];
    refusal.contains("storage-opt") && words.iter().any(|words| refusal.contains(words))
        || refusal.contains("quota") && ["not supported", "unsupported"].iter().any(|words| refusal.contains(words))
}

/// A path as archives have it.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_full_box_does_not_end_the_quotas_of_all() {
        for full in ["Error processing tar file(exit status 1): write /a: disk quota exceeded", "Disk quota exceeded"] {
            assert!(exceeds_quota(full) && !lacks_quotas(full), "{full}");
        }
        for unsupported in [
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            "--storage-opt is not supported for vfs",
            "Filesystem does not support, or has not enabled quotas: quota not supported",
        ] {
            assert!(lacks_quotas(unsupported) && !exceeds_quota(unsupported), "{unsupported}");
        }
        assert!(!lacks_quotas("invalid size: 'quota'") && !lacks_quotas("the name quota/image is not there"));
    }
}
