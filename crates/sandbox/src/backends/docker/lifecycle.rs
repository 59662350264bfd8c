//! Starting, halting and removing containers, and the streams to what runs in them.

use std::{io, time::Duration};

use bollard::query_parameters::{
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use longshore_workspace::Stream;
use tokio::{io::AsyncReadExt, time::Instant};

use super::{
    Docker, blocking,
    config::{self, Sharing},
    engine::{is_conflict, is_missing, message},
    limits, stream,
};
use crate::{Error, Limits, Running, SandboxId, Spec};

/// The time in which `boxd` must answer after its container started.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The time in which a socket that is shared with the box must appear, before the engine is asked for a way.
const SOCKET_LIMIT: Duration = Duration::from_secs(1);
/// The time that a process of the engine's may take to reach `boxd`.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// How many bytes of a container's output stand in an error.
const LAST_WORDS: usize = 1024;

/// How a stream to a box may be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Over a socket, if there is to be one.
    Socket,
    /// However it works.
    Any,
}

impl Docker {
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
            self.renew_run(id).await?;
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
        // Before the greeting: an end just after it is told, too.
        self.watch.expect_life(id);
        match self.greet(id).await {
            Ok(way) => {
                // A runtime with a kernel of its own, say, whose sockets are not this machine's.
                self.learned.lock().sees_no_sockets |= way == Way::Any;
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

    /// Waits until `boxd` answers or its container ends. Tells which way was needed.
    async fn greet(&self, id: SandboxId) -> Result<Way, Error> {
        let client = self.engine.client().await?;
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut end = client.wait_container(&self.layout.container(id), Some(options)).boxed();
        let answer = async {
            let start = Instant::now();
            let mut pause = Duration::from_millis(2);
            loop {
                let way = if start.elapsed() < SOCKET_LIMIT { Way::Socket } else { Way::Any };
                match self.greet_once(id, way).await {
                    Ok(()) => return Ok(way),
                    Err(cause) if start.elapsed() > START_LIMIT => return Err(cause),
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::select! {
            answer = answer => match answer {
                Ok(way) => Ok(way),
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
    async fn greet_once(&self, id: SandboxId, way: Way) -> io::Result<()> {
        let mut stream = self.connect(id, way).await?;
        let greeting = stream.read_u8();
        tokio::time::timeout(GREETING_LIMIT, greeting).await.map_err(io::Error::from)?.map(drop)
    }

    /// A stream to `boxd`, over the socket if there is one that can be used.
    pub(super) async fn connect(&self, id: SandboxId, way: Way) -> io::Result<Stream> {
        let folders = self.layout.folders(id);
        let run_dir = folders.run();
        let sharing = if folders.exist() { Sharing::Mounted } else { Sharing::Copied };
        let can_share = sharing == Sharing::Mounted && !self.options.only_exec && !self.learned.lock().sees_no_sockets;
        if can_share {
            match stream::connect(&run_dir).await {
                Ok(stream) => return Ok(stream),
                Err(cause) if way == Way::Socket => return Err(cause),
                Err(_) => {}
            }
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
        self.unmount(id).await
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

    pub(super) async fn remove_container(&self, id: SandboxId) -> Result<(), Error> {
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

    pub(super) async fn remove_volume(&self, id: SandboxId) -> Result<(), Error> {
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
