//! A deployment with boxes of bubblewrap, of which nothing is left in the end.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_sandbox::{
    Backend, Bubblewrap, BubblewrapOptions, Death, Deployment, Found, Limits, Network, Running, SandboxId, Spec,
};
use longshore_workspace::{Command, Connect, ExitStatus, Remote, RemoteOptions, Stream, Workspace};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(50);

/// The program that runs in boxes.
pub(crate) fn program() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().ok()?;
        Some(test.parent()?.parent()?.join("longshore")).filter(|path| path.is_file())
    };
    let named = std::env::var_os("LONGSHORE_PROGRAM").map(PathBuf::from);
    named.or_else(beside).expect("build the program first (cargo build -p longshore), or name it in LONGSHORE_PROGRAM")
}

pub(crate) struct Place {
    pub(crate) deployment: Deployment,
    pub(crate) options: BubblewrapOptions,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut BubblewrapOptions)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let name = format!("test{}", uuid::Uuid::new_v4().simple());
        let deployment = Deployment { name, dir: folder.path().join("boxes"), program: program() };
        let mut options = BubblewrapOptions::default();
        change(&mut options);
        let backend = Arc::new(Bubblewrap::new(deployment.clone(), options.clone()));
        Self { deployment, options, backend, folder }
    }

    /// What a server does that starts again: another value, which knows nothing.
    pub(crate) fn restart(&mut self) {
        self.backend = Arc::new(Bubblewrap::new(self.deployment.clone(), self.options.clone()));
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
        let connector = Connector { backend: Arc::clone(&self.backend), id };
        let workspace = Remote::new(Arc::new(connector), RemoteOptions::new(&spec.working_dir));
        Boxed { id, workspace: Arc::new(workspace) }
    }

    pub(crate) async fn running(&self, id: SandboxId) -> Option<Running> {
        let found = self.backend.list().await.expect("a list");
        found.into_iter().find(|found| found.id == id).map(|found| found.running)
    }

    pub(crate) async fn list(&self) -> Vec<Found> {
        self.backend.list().await.expect("a list")
    }

    pub(crate) async fn death(&self) -> Death {
        tokio::time::timeout(DEADLINE, self.backend.next_death()).await.expect("a death in time")
    }

    pub(crate) fn dir(&self, id: SandboxId) -> PathBuf {
        self.deployment.dir.join(id.to_string())
    }

    /// Processes of bubblewrap for boxes of this deployment.
    pub(crate) fn processes(&self) -> Vec<i32> {
        named(&format!("longshore-box:{}/", self.deployment.name))
    }

    /// What is left on this machine when all boxes are gone.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<_> = self.processes().iter().map(|pid| format!("process {pid}")).collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let dir = self.deployment.dir.display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned));
        left.extend(self.groups().into_iter().flat_map(|group| {
            let inner = fs::read_dir(group).into_iter().flatten().flatten();
            inner.filter(|entry| entry.path().is_dir()).map(|entry| entry.path().display().to_string())
        }));
        let entries = fs::read_dir(&self.deployment.dir).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()).filter(|path| !path.ends_with("/etc")));
        left
    }

    /// The deployment's own folders in the trees of control groups.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        find_folders(Path::new("/sys/fs/cgroup"), &format!("longshore-{}", self.deployment.name), 6)
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
        let left = self.left();
        for group in self.groups() {
            let _ = fs::remove_dir(group);
        }
        assert!(std::thread::panicking() || (cleaned.is_ok() && left.is_empty()), "left: {left:#?}");
    }
}

#[derive(Debug)]
struct Connector {
    backend: Arc<dyn Backend>,
    id: SandboxId,
}

#[async_trait::async_trait]
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

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Processes whose name for others begins so.
fn named(start: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("the list of processes").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &i32| {
            fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| line.starts_with(start.as_bytes()))
        })
        .collect()
}

pub(crate) fn find_folders(folder: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 0 {
            found.extend(find_folders(&entry.path(), name, depth - 1));
        }
    }
    found
}
