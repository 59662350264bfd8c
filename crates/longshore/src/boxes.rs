//! The boxes that the operator asked for.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use longshore_sandbox::{Backend, Backends, Circumstances, Deployment, Finding, KINDS, Kind, Sandboxes, Settings};
use longshore_store::Store;
use longshore_workspace::LocalOptions;

use crate::{
    config::{AUTOMATIC, Config},
    deployment,
    settings::Environment,
};

/// Makes all kinds of boxes that can be asked for or are stored.
pub(crate) struct Maker<'a> {
    pub(crate) config: &'a Config,
    pub(crate) environment: &'a Environment,
    /// The folder for everything durable.
    pub(crate) data_dir: &'a Path,
    /// How processes are started where nothing isolates.
    pub(crate) local: LocalOptions,
    /// Whether boxes are for users, and not only for whoever runs the server.
    pub(crate) has_users: bool,
}

impl Maker<'_> {
    /// All boxes of this server.
    pub(crate) async fn sandboxes(&self, store: Arc<dyn Store>) -> Result<Sandboxes> {
        let mut settings = self.config.settings()?;
        let deployment = self.deployment()?;
        let backend = self.chosen(&settings, &deployment).await?;
        let name = backend.name();
        settings.defaults.backend = Some(name.to_owned());
        if backend.is_isolated() {
            tracing::info!(backend = name, "agents and clients work in boxes");
        } else {
            settings.working_dir.clone_from(&self.local.working_dir);
            tracing::warn!("no isolation: agents and clients work on this machine as the server's user");
        }
        settings.keeps_unknown = deployment::has_older_database(&deployment.dir, &*store).await?;
        if settings.keeps_unknown {
            tracing::error!(
                "the database is older than the boxes: it was lost, or restored from a backup. Boxes that it does not know \
                 are stopped and their files kept until their retention ends; stop this server now if you have a newer one"
            );
        }
        let mut backends = vec![backend];
        let stored = store.sandboxes().await.context("the stored boxes cannot be read")?;
        let others: BTreeSet<_> =
            stored.iter().map(|row| row.backend.as_str()).filter(|other| *other != name).collect();
        for other in others {
            backends.push(self.backend(other, &deployment)?);
        }
        let sandboxes = Sandboxes::new(settings, Backends::new(backends), store);
        sandboxes.check_settings().context("boxes cannot be as the configuration says")?;
        Ok(sandboxes)
    }

    /// What this machine can do for each kind, and which of them would be used; none if the one that is asked for does not
    /// work.
    pub(crate) async fn examine(&self) -> Result<(Vec<Examined>, Option<&'static str>)> {
        let deployment = self.deployment()?;
        let mut kinds = Vec::new();
        for Kind { name, .. } in KINDS {
            let findings = self.backend(name, &deployment)?.findings().await;
            kinds.push(Examined { name, findings });
        }
        let chosen = self.chosen(&self.config.settings()?, &deployment).await;
        Ok((kinds, chosen.ok().map(|backend| backend.name())))
    }

    /// The kind that the operator named, or the one that suits this machine.
    async fn chosen(&self, settings: &Settings, deployment: &Deployment) -> Result<Arc<dyn Backend>> {
        match settings.defaults.backend.as_deref() {
            Some(AUTOMATIC) | None => self.automatic(deployment).await,
            Some(name) => {
                let backend = self.backend(name, deployment)?;
                backend.check().await.with_context(|| {
                    format!("boxes cannot be made by '{name}' on this machine; longshore doctor says more")
                })?;
                Ok(backend)
            }
        }
    }

    /// In a container the container is the box. Else the first that works here; if none does, nothing isolates.
    async fn automatic(&self, deployment: &Deployment) -> Result<Arc<dyn Backend>> {
        if is_in_container(self.environment) {
            tracing::info!("this is a container, which is the box (--sandbox bubblewrap or docker: boxes in it)");
            return self.backend("local", deployment);
        }
        for name in ["docker", "bubblewrap"] {
            let backend = self.backend(name, deployment)?;
            match backend.check().await {
                Ok(()) => return Ok(backend),
                Err(error) => tracing::info!(backend = name, %error, "not used"),
            }
        }
        tracing::warn!("this machine can make no boxes: install bubblewrap, or start a Docker engine");
        self.backend("local", deployment)
    }

    fn backend(&self, name: &str, deployment: &Deployment) -> Result<Arc<dyn Backend>> {
        let circumstances = Circumstances {
            deployment: deployment.clone(),
            options: self.config.backend.get(name).cloned().unwrap_or_default(),
            local: self.local.clone(),
            default_image: self.config.sandbox.image.clone(),
            is_personal: self.config.lifecycle.folder.is_some(),
            has_users: self.has_users,
        };
        Ok(Kind::named(name)?.backend(circumstances)?)
    }

    fn deployment(&self) -> Result<Deployment> {
        Ok(Deployment {
            name: deployment::name(self.data_dir)?,
            dir: self.data_dir.join("boxes"),
            program: std::env::current_exe().context("the program's own file is not known")?,
        })
    }
}

/// A kind of boxes, and what this machine can do for it.
pub(crate) struct Examined {
    pub(crate) name: &'static str,
    pub(crate) findings: Vec<Finding>,
}

fn is_in_container(environment: &Environment) -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    marks.iter().any(|mark| Path::new(mark).exists()) || environment.get("KUBERNETES_SERVICE_HOST").is_some()
}
