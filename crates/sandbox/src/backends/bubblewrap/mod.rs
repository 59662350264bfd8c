//! Boxes of namespaces and control groups, which bubblewrap puts together: no daemon, no image, ready in milliseconds.

mod boxes;
mod check;
mod folder;
mod launch;
mod options;
mod processes;
mod seccomp;
mod stage;
mod start;
mod users;
mod view;
mod watch;

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use boxes::Boxes;
use launch::Log;
use longshore_workspace::Stream;
use parking_lot::Mutex;
use rustix::{net::RecvFlags, process::Pid};
use serde::Deserialize;
use tokio::{io::Interest, net::UnixStream, process::Child};
use watch::{Run, Watch};

use super::{Circumstances, Kind};
use crate::{Backend, Death, Deployment, Error, Finding, Found, Level, Limits, Progress, SandboxId, Spec, Stats, host};

const NAME: &str = "bubblewrap";

pub(super) const KIND: Kind = Kind { name: NAME, make };

fn make(circumstances: Circumstances) -> Result<Arc<dyn Backend>, Error> {
    let mut options: Options = super::options(NAME, circumstances.options)?;
    if circumstances.is_personal {
        // The files belong to whoever runs this process, and nobody else could write to them.
        options.uids = 0..0;
    }
    Ok(Arc::new(Bubblewrap::new(circumstances.deployment, options)))
}

/// How long `boxd` may take to say something on its first stream.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What a [`Bubblewrap`] needs to know of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Bubblewrap, 0.8 or later: an absolute path.
    pub program: PathBuf,
    /// Root file systems by the name that a [`Spec`] calls them by its image: absolute paths of folders that everybody may
    /// read. A box without an image sees this machine's programs.
    pub roots: BTreeMap<String, PathBuf>,
    /// Numbers of users and groups that belong to nobody, one for each box, if the server is root. Nothing here means that
    /// boxes are the server's own user: for a single user's own files.
    pub uids: Range<u32>,
}

impl Default for Options {
    /// The bubblewrap in `PATH`, no root file systems, and numbers that systemd lists as unused.
    fn default() -> Self {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&folders).map(|folder| folder.join("bwrap")).find(|path| path.is_file());
        Self {
            program: program.unwrap_or_else(|| "/usr/bin/bwrap".into()),
            roots: BTreeMap::new(),
            uids: 2_000_000_000..2_100_000_000,
        }
    }
}

/// Makes boxes with bubblewrap.
///
/// They outlive it, also when the server is killed, and another value for the same [`Deployment`] finds them again.
#[derive(Debug)]
pub struct Bubblewrap {
    boxes: Arc<Boxes>,
    watch: Watch,
    /// Streams that tell that a box came up, for the first one who wants one.
    first_streams: Mutex<BTreeMap<SandboxId, UnixStream>>,
}

impl Bubblewrap {
    /// Makes boxes for a deployment. Does nothing yet.
    pub fn new(deployment: Deployment, options: Options) -> Self {
        Self { boxes: Arc::new(Boxes::new(deployment, options)), watch: Watch::new(), first_streams: Mutex::default() }
    }

    async fn essentials(&self) -> Vec<Finding> {
        let mut findings = self.blocking(|boxes| Ok(check::essentials(boxes))).await.unwrap_or_default();
        if findings.iter().all(|finding| finding.level != Level::Missing) {
            findings.push(check::of_trial(self.try_one().await));
        }
        findings
    }

    async fn try_one(&self) -> Result<(), Error> {
        let (id, spec) = (SandboxId::random(), check::trial());
        let tried = async {
            self.create(id, &spec).await?;
            self.start(id, &spec).await
        };
        let tried = tried.await;
        self.destroy(id).await?;
        tried
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Boxes>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let boxes = Arc::clone(&self.boxes);
        match tokio::task::spawn_blocking(move || work(&boxes)).await {
            Ok(result) => result,
            Err(cause) => Err(Error::failed("work while the runtime ends", cause)),
        }
    }

    /// No longer expects a box to run.
    fn forget(&self, id: SandboxId) {
        self.watch.forget(id);
        self.first_streams.lock().remove(&id);
    }

    /// Waits until `boxd` says something: it speaks first, so there is nothing to ask and nothing to poll for.
    async fn wait_until_up(&self, id: SandboxId) -> io::Result<UnixStream> {
        let stream = self.connect(id).await?;
        let up = async {
            loop {
                stream.readable().await?;
                let mut byte = [0];
                let peek = || Ok(rustix::net::recv(&stream, &mut byte, RecvFlags::PEEK)?.0);
                match stream.try_io(Interest::READABLE, peek) {
                    Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                    Ok(_) => return Ok(()),
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                    Err(cause) => return Err(cause),
                }
            }
        };
        tokio::time::timeout(READY_LIMIT, up).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(stream)
    }

    async fn connect(&self, id: SandboxId) -> io::Result<UnixStream> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the box does not run");
        let (_folder, path) = self.boxes.folder(id).socket().map_err(|_| gone())?;
        UnixStream::connect(path).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => gone(),
            _ => cause,
        })
    }

    /// Watches over a box that this value found running.
    fn watch_found(&self, id: SandboxId, pid: Pid) {
        // One that has ended already is found by the next list.
        let Ok(end) = host::watch_end(pid) else { return };
        let boxes = Arc::downgrade(&self.boxes);
        self.watch.add(id, |run| async move {
            let _ = end.readable().await;
            finish(boxes, run, move |boxes| boxes.reason(id, None, None, None)).await
        });
    }

    fn watch_started(&self, id: SandboxId, limits: Limits, mut child: Child, log: Arc<Log>) {
        let boxes = Arc::downgrade(&self.boxes);
        self.watch.add(id, |run| async move {
            let status = child.wait().await.ok();
            finish(boxes, run, move |boxes| boxes.reason(id, Some(limits), status, Some(&log))).await
        });
    }
}

#[async_trait]
impl Backend for Bubblewrap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, spec: &Spec) -> Result<(), Error> {
        self.boxes.validate(spec)
    }

    async fn check(&self) -> Result<(), Error> {
        let missing = self.essentials().await.into_iter().find(|finding| finding.level == Level::Missing);
        missing.map_or(Ok(()), |finding| {
            let advice = finding.advice.map(|advice| format!("; {advice}")).unwrap_or_default();
            Err(Error::Unavailable { backend: NAME, reason: format!("{}{advice}", finding.detail) })
        })
    }

    /// Makes a box and a disk to find out.
    async fn findings(&self) -> Vec<Finding> {
        let mut findings = self.essentials().await;
        findings.extend(self.blocking(|boxes| Ok(check::extras(boxes))).await.unwrap_or_default());
        findings
    }

    async fn prepare(&self, _: &Spec, _: Progress<'_>) -> Result<(), Error> {
        Ok(())
    }

    async fn create(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        let spec = spec.clone();
        self.blocking(move |boxes| boxes.create(id, &spec)).await
    }

    async fn start(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        // A start that was broken off, or a server that died, may have left it running, halted or about to end.
        if self.connect(id).await.is_ok() && self.resume(id).await.is_ok() && self.wait_until_up(id).await.is_ok() {
            self.list().await?;
            return Ok(());
        }
        self.forget(id);
        let (child, log) = {
            let spec = spec.clone();
            self.blocking(move |boxes| boxes.start(id, &spec)).await?
        };
        let log = Arc::new(log);
        self.watch_started(id, spec.limits, child, Arc::clone(&log));
        match self.wait_until_up(id).await {
            Ok(stream) => self.first_streams.lock().insert(id, stream),
            Err(cause) => {
                self.forget(id);
                self.blocking(move |boxes| boxes.clear(id, || true)).await?;
                let cause = log.last_line().unwrap_or_else(|| cause.to_string());
                return Err(Error::failed("start a box", cause));
            }
        };
        let limits = spec.limits;
        self.blocking(move |boxes| {
            boxes.limit_without_group(id, &limits);
            Ok(())
        })
        .await
    }

    async fn pause(&self, id: SandboxId) -> Result<(), Error> {
        self.blocking(move |boxes| boxes.halt(id, true)).await
    }

    async fn resume(&self, id: SandboxId) -> Result<(), Error> {
        self.blocking(move |boxes| boxes.halt(id, false)).await
    }

    async fn stop(&self, id: SandboxId) -> Result<(), Error> {
        self.forget(id);
        self.blocking(move |boxes| boxes.stop(id)).await
    }

    async fn destroy(&self, id: SandboxId) -> Result<(), Error> {
        self.forget(id);
        self.blocking(move |boxes| boxes.destroy(id)).await
    }

    async fn set_limits(&self, id: SandboxId, limits: &Limits) -> Result<(), Error> {
        let limits = *limits;
        self.blocking(move |boxes| boxes.set_limits(id, &limits)).await
    }

    async fn open(&self, id: SandboxId) -> io::Result<Stream> {
        let first = self.first_streams.lock().remove(&id);
        match first {
            Some(stream) => Ok(Box::new(stream)),
            None => Ok(Box::new(self.connect(id).await?)),
        }
    }

    async fn stats(&self, id: SandboxId) -> Result<Stats, Error> {
        self.blocking(move |boxes| boxes.stats(id)).await
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        let found = self.blocking(|boxes| boxes.list()).await?;
        for (found, process) in &found {
            if let Some(process) = process
                && !self.watch.has(found.id)
            {
                self.watch_found(found.id, *process);
            }
        }
        Ok(found.into_iter().map(|(found, _)| found).collect())
    }

    async fn next_death(&self) -> Death {
        self.watch.next().await
    }
}

/// Ends what is left of a box that ended by itself, and tells why it did.
async fn finish(boxes: Weak<Boxes>, run: Run, reason: impl FnOnce(&Boxes) -> String + Send + 'static) -> String {
    const NOBODY: &str = "the server ended";
    let Some(boxes) = boxes.upgrade() else { return NOBODY.to_owned() };
    let finished = tokio::task::spawn_blocking(move || {
        if let Err(cause) = boxes.clear(run.id(), || run.is_watched()) {
            tracing::warn!(id = %run.id(), %cause, "processes of a box that ended are left");
        }
        reason(&boxes)
    });
    finished.await.unwrap_or_else(|_| NOBODY.to_owned())
}
