//! Making, starting, halting and removing containers.

use std::{io, time::Duration};

use bollard::{
    body_try_stream,
    errors::Error as Refusal,
    models::VolumeCreateRequest,
    query_parameters::{
        CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
        StopContainerOptionsBuilder, UploadToContainerOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use futures::StreamExt;
use longshore_workspace::Stream;
use tokio::{io::AsyncReadExt, time::Instant};

use super::{
    Docker, archive, blocking,
    config::{self, Plan, Sharing},
    engine::{is_conflict, is_missing, message},
    image,
    layout::{OWN_DIR, PROGRAM, WORKSPACE},
    limits, stream,
};
use crate::{Error, Limits, Network, Running, SandboxId, Spec};

/// The time in which `boxd` must answer after its container started.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The time that a process of the engine's may take to reach `boxd`.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// How many bytes of a container's output stand in an error.
const LAST_WORDS: usize = 1024;

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
        if plan.sharing == Sharing::Mounted
            && (lacks(&self.deployment.program) || lacks(&self.layout.folders(plan.id).run()))
        {
            // The folder has a name that no other machine has: this engine has other files.
            self.learned.lock().must_copy = true;
            self.remove_volume(plan.id).await?;
            self.remove_folders(plan.id).await?;
            return Ok(Next::Again);
        }
        if plan.has_volume && lacks(&self.layout.folders(plan.id).workspace()) && !self.learned.lock().sees_no_mounts {
            // The folder is on a disk that only this process and its like see.
            self.learned.lock().sees_no_mounts = true;
            self.remove_volume(plan.id).await?;
            self.remove_folders(plan.id).await?;
            return Ok(Next::Again);
        }
        if plan.bounds_disk && ["storage-opt", "quota"].iter().any(|words| text.to_lowercase().contains(words)) {
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
        let options = bollard::query_parameters::ContainerArchiveInfoOptionsBuilder::default().path(path).build();
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

    /// Starts a box and waits until `boxd` answers.
    pub(super) async fn run(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        let state = self.state(id).await?.ok_or_else(|| Error::Gone("it has no container".to_owned()))?;
        if state.running == Running::Paused {
            self.thaw(id).await?;
        }
        if state.has_network {
            self.network.ensure(self).await?;
        }
        if state.running == Running::No {
            self.mount_disk(id, spec.limits.disk).await?;
            let run_dir = self.layout.folders(id).run();
            blocking(move || stream::remove_socket(&run_dir))
                .await
                .map_err(|cause| Error::failed("remove the socket of the box's last run", cause))?;
            let started = self.engine.client().await?.start_container(&self.layout.container(id), None).await;
            match started {
                Ok(()) => {}
                Err(refusal) if is_missing(&refusal) => return Err(Error::Gone(message(&refusal))),
                Err(refusal) => return Err(self.engine.failed("start the box's container", refusal)),
            }
        }
        match self.greet(id).await {
            Ok(()) => {
                self.watch.expect_life(id);
                Ok(())
            }
            Err(error) => {
                // What does not answer must not run on unseen.
                if let Err(error) = self.halt(id).await {
                    tracing::warn!(sandbox = %id, %error, "a box that did not answer cannot be stopped");
                }
                Err(error)
            }
        }
    }

    /// Waits until `boxd` answers or its container ends.
    async fn greet(&self, id: SandboxId) -> Result<(), Error> {
        let client = self.engine.client().await?;
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut end = client.wait_container(&self.layout.container(id), Some(options)).boxed();
        let answer = async {
            let deadline = Instant::now() + START_LIMIT;
            let mut pause = Duration::from_millis(2);
            loop {
                match self.greet_once(id).await {
                    Ok(()) => return Ok(()),
                    Err(cause) if Instant::now() > deadline => return Err(cause),
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::select! {
            answer = answer => match answer {
                Ok(()) => Ok(()),
                Err(cause) => Err(Error::failed("reach the box after it started", format!("{cause}{}", self.last_words(id).await))),
            },
            _ = end.next() => {
                let reason = match self.state(id).await? {
                    Some(state) => state.reason(),
                    None => super::state::REMOVED.to_owned(),
                };
                Err(Error::failed("start the box", format!("{reason}{}", self.last_words(id).await)))
            }
        }
    }

    /// Hears whether `boxd` is there: it speaks first.
    async fn greet_once(&self, id: SandboxId) -> io::Result<()> {
        let mut stream = self.connect(id).await?;
        let greeting = stream.read_u8();
        tokio::time::timeout(GREETING_LIMIT, greeting).await.map_err(io::Error::from)?.map(drop)
    }

    /// A stream to `boxd`, over the socket if there is one that can be used.
    pub(super) async fn connect(&self, id: SandboxId) -> io::Result<Stream> {
        let run_dir = self.layout.folders(id).run();
        let sharing = if run_dir.exists() { Sharing::Mounted } else { Sharing::Copied };
        if sharing == Sharing::Mounted
            && !self.options.only_exec
            && let Ok(stream) = stream::connect(&run_dir).await
        {
            return Ok(stream);
        }
        let client = self.engine.client().await.map_err(io::Error::other)?;
        stream::exec(client, &self.layout.container(id), &config::socket(sharing)).await
    }

    /// The end of what a container wrote, to stand after a reason.
    async fn last_words(&self, id: SandboxId) -> String {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail("20").build();
        let Ok(client) = self.engine.client().await else { return String::new() };
        let mut log = client.logs(&self.layout.container(id), Some(options)).boxed();
        let mut words = String::new();
        while let Some(Ok(chunk)) = log.next().await {
            words.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
        }
        let mut start = words.len().saturating_sub(LAST_WORDS);
        while !words.is_char_boundary(start) {
            start += 1;
        }
        match words[start..].trim() {
            "" => String::new(),
            words => format!(": {words}"),
        }
    }

    /// Halts all processes.
    pub(super) async fn freeze(&self, id: SandboxId) -> Result<(), Error> {
        let refusal = match self.engine.client().await?.pause_container(&self.layout.container(id)).await {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        match self.state(id).await?.map(|state| state.running) {
            Some(Running::Paused) => Ok(()),
            Some(Running::No) | None => Err(Error::Gone("it does not run".to_owned())),
            Some(Running::Yes) => Err(self.engine.failed("halt the box", refusal)),
        }
    }

    /// Lets them go on.
    pub(super) async fn thaw(&self, id: SandboxId) -> Result<(), Error> {
        let refusal = match self.engine.client().await?.unpause_container(&self.layout.container(id)).await {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        match self.state(id).await?.map(|state| state.running) {
            Some(Running::Yes) => Ok(()),
            Some(Running::No) | None => Err(Error::Gone("it does not run".to_owned())),
            Some(Running::Paused) => Err(self.engine.failed("let the box go on", refusal)),
        }
    }

    /// Ends all processes at once: `boxd` has nothing to save.
    pub(super) async fn halt(&self, id: SandboxId) -> Result<(), Error> {
        self.watch.expect_end(id);
        let options = StopContainerOptionsBuilder::default().t(0).build();
        match self.engine.client().await?.stop_container(&self.layout.container(id), Some(options)).await {
            Ok(()) => {}
            Err(refusal) if is_missing(&refusal) => {}
            Err(refusal) => return Err(self.engine.failed("stop the box's container", refusal)),
        }
        self.watch.forget(id);
        self.unmount_disk(id).await
    }

    /// Removes all that there is of a box.
    pub(super) async fn remove(&self, id: SandboxId) -> Result<(), Error> {
        self.watch.expect_end(id);
        self.remove_container(id).await?;
        self.remove_volume(id).await?;
        self.remove_folders(id).await?;
        self.network.remove_if_unused(self).await?;
        self.watch.forget(id);
        Ok(())
    }

    async fn remove_container(&self, id: SandboxId) -> Result<(), Error> {
        let client = self.engine.client().await?;
        let name = self.layout.container(id);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match client.remove_container(&name, Some(options)).await {
                Ok(()) => return Ok(()),
                Err(refusal) if is_missing(&refusal) => return Ok(()),
                // Somebody is removing it: until it is gone its name is taken and its mounts are used.
                Err(refusal) if is_conflict(&refusal) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(refusal) => return Err(self.engine.failed("remove the box's container", refusal)),
            }
        }
    }

    async fn remove_volume(&self, id: SandboxId) -> Result<(), Error> {
        match self.engine.client().await?.remove_volume(&self.layout.volume(id), None::<RemoveVolumeOptions>).await {
            Ok(()) => Ok(()),
            Err(refusal) if is_missing(&refusal) => Ok(()),
            Err(refusal) => Err(self.engine.failed("remove the box's volume", refusal)),
        }
    }

    /// Changes what a box may use.
    pub(super) async fn change_limits(&self, id: SandboxId, limits: &Limits) -> Result<(), Error> {
        let facts = self.engine.facts().await?;
        self.resize_disk(id, limits.disk).await?;
        let update = limits::later(limits, facts);
        match self.engine.client().await?.update_container(&self.layout.container(id), update).await {
            Ok(()) => Ok(()),
            Err(refusal) if is_missing(&refusal) => Err(Error::Gone(message(&refusal))),
            Err(refusal) => Err(self.engine.failed("change the limits of the box", refusal)),
        }
    }
}

/// A path as archives have it.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}
