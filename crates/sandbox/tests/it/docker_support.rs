//! A deployment with boxes of a Docker engine, of which nothing is left in the end.

use std::{
    collections::BTreeMap,
    future::Future,
    io::{self, Write as _},
    path::PathBuf,
    process::Command as Program,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use longshore_sandbox::{
    Backend, Death, Deployment, Docker, DockerOptions, Error, Limits, Network, Running, SandboxId, Spec,
};
use longshore_workspace::{Command, Connect, ExitStatus, Remote, RemoteOptions, Stream, Workspace};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(50);
/// A shell and the usual small programs, without a C library. See scripts/engine.
pub(crate) const BUSYBOX: &str = "longshore-test/busybox";
/// Debian with git and Python.
pub(crate) const DEBIAN: &str = "longshore-test/debian";
/// Nothing but an empty folder.
pub(crate) const EMPTY: &str = "longshore-test/empty";

/// The program that runs in boxes.
pub(crate) fn program() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().ok()?;
        Some(test.parent()?.parent()?.join("longshore")).filter(|path| path.is_file())
    };
    let named = std::env::var_os("LONGSHORE_PROGRAM").map(PathBuf::from);
    named.or_else(beside).expect("build the program first (cargo build -p longshore), or name it in LONGSHORE_PROGRAM")
}

/// What tests ask for. Their registries listen on loopback, which must be listed.
fn allowed() -> Vec<String> {
    ["127.0.0.1:*/**", "longshore-test/**"].map(str::to_owned).into()
}

pub(crate) struct Place {
    pub(crate) deployment: Deployment,
    pub(crate) options: DockerOptions,
    pub(crate) backend: Arc<Docker>,
    folder: TempDir,
    /// Images that only this test has.
    images: Mutex<Vec<String>>,
}

impl Place {
    /// None where no engine can be reached: the test is skipped, unless somebody wants it to fail.
    pub(crate) async fn new() -> Option<Self> {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut DockerOptions)) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let name = format!("test{}", uuid::Uuid::new_v4().simple());
        let deployment = Deployment { name, dir: folder.path().join("boxes"), program: program() };
        let mut options =
            DockerOptions { image: BUSYBOX.to_owned(), allowed_images: allowed(), ..DockerOptions::default() };
        change(&mut options);
        let backend = Arc::new(Docker::new(deployment.clone(), options.clone()));
        match backend.check().await {
            Ok(()) => Some(Self { deployment, options, backend, folder, images: Mutex::default() }),
            Err(error) => {
                assert!(std::env::var_os("LONGSHORE_REQUIRE_DOCKER").is_none_or(|value| value != "1"), "{error}");
                skip(&error.to_string());
                None
            }
        }
    }

    /// What a server does that starts again: another value, which knows nothing.
    pub(crate) async fn restart(&mut self) {
        self.backend = Arc::new(Docker::new(self.deployment.clone(), self.options.clone()));
        self.backend.check().await.expect("the engine is still there");
    }

    /// A box that runs.
    pub(crate) async fn run(&self, spec: &Spec) -> Boxed {
        let id = SandboxId::random();
        self.backend.create(id, spec).await.expect("a box");
        self.backend.start(id, spec).await.expect("a start");
        self.boxed(id, spec)
    }

    /// A box that there is.
    pub(crate) fn boxed(&self, id: SandboxId, spec: &Spec) -> Boxed {
        let connector = Connector { backend: self.backend.clone(), id };
        let workspace = Remote::new(Arc::new(connector), RemoteOptions::new(&spec.working_dir));
        Boxed { id, workspace: Arc::new(workspace) }
    }

    pub(crate) async fn running(&self, id: SandboxId) -> Option<Running> {
        let found = self.backend.list().await.expect("a list");
        found.into_iter().find(|found| found.id == id).map(|found| found.running)
    }

    pub(crate) async fn death(&self) -> Death {
        tokio::time::timeout(DEADLINE, self.backend.next_death()).await.expect("a death in time")
    }

    /// Removes all boxes.
    pub(crate) async fn destroy_all(&self) {
        for found in self.backend.list().await.expect("a list") {
            self.backend.destroy(found.id).await.expect("no box");
        }
    }

    /// The name of a box's container.
    pub(crate) fn container(&self, id: SandboxId) -> String {
        format!("longshore-{}-{id}", self.deployment.name)
    }

    /// What a box keeps on this machine.
    pub(crate) fn dir(&self, id: SandboxId) -> PathBuf {
        self.deployment.dir.join("docker").join(id.to_string())
    }

    /// The value of a field of a box's container, as the engine tells it.
    pub(crate) fn inspect(&self, id: SandboxId, field: &str) -> String {
        docker(&["inspect", "--format", &format!("{{{{json {field}}}}}"), &self.container(id)])
    }

    /// What is known of a file in a box's workspace.
    pub(crate) fn workspace_file(&self, id: SandboxId, name: &str) -> std::fs::Metadata {
        std::fs::metadata(self.dir(id).join("disk/workspace").join(name)).expect("the file")
    }

    /// Makes an image, which goes with the place.
    pub(crate) fn build(&self, tag: &str, dockerfile: &str) {
        build(&[], tag, dockerfile);
        self.own(tag);
    }

    /// Takes over an image, which goes with the place.
    pub(crate) fn own(&self, image: &str) {
        self.images.lock().expect("a list").push(image.to_owned());
    }

    /// A folder for what a test needs on this machine.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What is left when all boxes are gone.
    fn left(&self) -> Vec<String> {
        let name = &self.deployment.name;
        let label = format!("label=longshore.deployment={name}");
        let mut left = Vec::new();
        for kind in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
            let found = docker(&[kind, &["--quiet", "--filter", &label]].concat());
            left.extend(found.lines().map(|line| format!("{}: {line}", kind[0])));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let dir = self.folder.path().display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned));
        let folders = std::fs::read_dir(self.deployment.dir.join("docker")).into_iter().flatten().flatten();
        left.extend(folders.map(|entry| entry.path().display().to_string()));
        left
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let backend = Arc::clone(&self.backend);
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                for found in backend.list().await.expect("a list") {
                    backend.destroy(found.id).await.expect("no box");
                }
            });
        });
        let cleaned = cleaning.join();
        for image in self.images.get_mut().expect("a list") {
            let _ = Program::new("docker").args(["rmi", "--force", image]).output();
        }
        let left = self.left();
        assert!(std::thread::panicking() || (cleaned.is_ok() && left.is_empty()), "left: {left:#?}");
    }
}

/// Opens streams to one box.
#[derive(Debug)]
struct Connector {
    backend: Arc<Docker>,
    id: SandboxId,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> io::Result<Stream> {
        self.backend.open(self.id).await
    }
}

#[derive(Clone)]
pub(crate) struct Boxed {
    pub(crate) id: SandboxId,
    pub(crate) workspace: Arc<dyn Workspace>,
}

impl Boxed {
    pub(crate) async fn sh(&self, script: &str) -> Run {
        let run = async {
            let command = Command::new("sh").arg("-c").arg(script);
            let mut process = self.workspace.spawn(command).await.expect("it starts");
            drop(process.stdin.take());
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let (one, other) =
                tokio::join!(process.stdout.read_to_end(&mut stdout), process.stderr.read_to_end(&mut stderr));
            one.expect("standard output");
            other.expect("standard error");
            let status = process.control.wait().await.expect("an end");
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
            Run { stdout: text(stdout), stderr: text(stderr), status }
        };
        tokio::time::timeout(DEADLINE, run).await.unwrap_or_else(|_| panic!("{script}: not in time"))
    }

    /// Runs a script that must succeed, and returns what it says.
    pub(crate) async fn must(&self, script: &str) -> String {
        let run = self.sh(script).await;
        assert!(run.status.success(), "{script}: {run:?}");
        run.stdout
    }

    /// Runs a script that must fail.
    pub(crate) async fn must_not(&self, script: &str) -> Run {
        let run = self.sh(script).await;
        assert!(!run.status.success(), "{script}: {run:?}");
        run
    }
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

pub(crate) fn spec() -> Spec {
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

/// The socket of the engine.
pub(crate) fn engine_socket() -> PathBuf {
    let address = std::env::var("DOCKER_HOST").unwrap_or_default();
    address.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").into()
}

/// Says why a test is over before it began.
pub(crate) fn skip(reason: &str) {
    let _ = writeln!(io::stderr(), "skipped: {reason}");
}

/// Makes an image, by an engine that `options` name or the usual one.
pub(crate) fn build(options: &[&str], tag: &str, dockerfile: &str) {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("Dockerfile"), dockerfile).expect("a file");
    let mut client = Program::new("docker");
    client.args(options).args(["build", "--tag", tag]).arg(folder.path()).env("DOCKER_BUILDKIT", "0");
    let output = client.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the engine's own client.
pub(crate) fn docker(arguments: &[&str]) -> String {
    run("docker", arguments)
}

/// Runs a program that must succeed, and returns what it says.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Program::new(program).args(arguments).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn is_gone(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Gone(_)))
}
