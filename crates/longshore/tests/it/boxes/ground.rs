//! A server with boxes of one kind, of which nothing is left in the end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use longshore_sandbox::{Backend, Bubblewrap, BubblewrapOptions, Deployment, Docker, DockerOptions, Found, SandboxId};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{process::Child, time::Instant};

use super::client::{Boxed, Client};
use crate::support::{PATIENCE, PROGRAM, World, code_of, signal};

/// What a box is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bubblewrap,
    Docker,
}

impl Kind {
    fn flag(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Docker => "docker:longshore-test/debian",
        }
    }

    fn backend(self, deployment: Deployment) -> Arc<dyn Backend> {
        match self {
            Self::Bubblewrap => Arc::new(Bubblewrap::new(deployment, BubblewrapOptions::default())),
            Self::Docker => Arc::new(Docker::new(deployment, DockerOptions::default())),
        }
    }

    /// Whether this machine can make such boxes; a test that must not be skipped fails instead.
    async fn is_here(self, world: &World) -> bool {
        let (name, dir, program) = ("probe".to_owned(), world.path().join("probe"), PROGRAM.into());
        let Err(error) = self.backend(Deployment { name, dir, program }).check().await else { return true };
        let must_be_here = match self {
            Self::Bubblewrap => "LONGSHORE_REQUIRE_ROOT",
            Self::Docker => "LONGSHORE_REQUIRE_DOCKER",
        };
        assert!(std::env::var_os(must_be_here).is_none_or(|value| value != "1"), "{error}");
        println!("skipped: {error}");
        false
    }
}

/// A server with boxes of one kind.
pub(crate) struct Ground {
    pub(crate) kind: Kind,
    pub(crate) world: World,
    /// A client of the server that runs now, or ran last.
    pub(crate) client: Client,
    server: Option<Child>,
    starts: u32,
    arguments: Vec<String>,
}

/// In the server's environment, and in no box.
pub(crate) const SERVERS_SECRET: &str = "canary-of-the-environment";

impl Ground {
    /// A server that runs; none where there can be no such boxes.
    pub(crate) async fn new(kind: Kind, config: &str) -> Option<Self> {
        let mut ground = Self::prepared(kind, config).await?;
        ground.start().await;
        Some(ground)
    }

    /// A server that does not run yet.
    pub(crate) async fn prepared(kind: Kind, config: &str) -> Option<Self> {
        let world = World::new();
        if !kind.is_here(&world).await {
            return None;
        }
        let file = world.path().join("config.toml");
        fs::write(&file, format!("{config}\n[lifecycle]\nsweep_interval = 1\n")).unwrap();
        let arguments = ["serve", "--port", "0", "--sandbox", kind.flag(), "--config", file.to_str().unwrap()];
        let arguments = arguments.map(str::to_owned).to_vec();
        Some(Self { kind, world, client: Client::default(), server: None, starts: 0, arguments })
    }

    pub(crate) async fn start(&mut self) {
        self.starts += 1;
        let log = self.world.path().join(format!("log.{}", self.starts));
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let mut command = self.world.command(&arguments);
        command.env("CANARY", SERVERS_SECRET).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        if let Some(engine) = std::env::var_os("DOCKER_HOST") {
            command.env("DOCKER_HOST", engine);
        }
        let mut server = command.spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        let line = loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(line) = text.lines().find(|line| line.contains("Longshore serves")) {
                break line.to_owned();
            }
            assert!(server.try_wait().unwrap().is_none() && Instant::now() < end, "it does not serve: {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let line: Value = serde_json::from_str(&line).unwrap();
        self.client = Client::new(line["address"].as_str().unwrap());
        self.server = Some(server);
    }

    /// Kills the server.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().await.unwrap();
        }
    }

    /// Asks the server to end, and waits for it.
    pub(crate) async fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        signal(&server, Signal::TERM);
        assert_eq!(code_of(&mut server).await, Some(0));
    }

    /// The number of the server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id().unwrap()
    }

    /// Bytes of memory that the server has.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What the server has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.world.path().join(format!("log.{}", self.starts))).unwrap()
    }

    /// The server answers, and says that all is well.
    pub(crate) async fn must_be_healthy(&self) {
        self.client.must_be_healthy().await;
    }

    /// The user's box.
    pub(crate) fn of_user(&self) -> Boxed {
        self.client.of_user()
    }

    /// The box of a new conversation, made from `options`, which runs.
    pub(crate) async fn boxed(&self, options: Value) -> Boxed {
        let boxed = self.client.try_unmade(options).await.expect("a conversation");
        boxed.must("true").await;
        boxed
    }

    /// Gives the server more arguments when it is started the next time.
    pub(crate) fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    pub(crate) fn deployment(&self) -> Option<Deployment> {
        let file = fs::read_to_string(self.world.data().join("deployment")).ok()?;
        let name = file.split_whitespace().next()?.to_owned();
        Some(Deployment { name, dir: self.world.data().join("boxes"), program: PROGRAM.into() })
    }

    /// All boxes that there are in any form.
    pub(crate) async fn found(&self) -> Vec<Found> {
        let Some(deployment) = self.deployment() else { return Vec::new() };
        self.kind.backend(deployment).list().await.unwrap()
    }

    /// What there is on this machine of all boxes but `but`: processes, containers, mounts, control groups, folders.
    pub(crate) fn left(&self, but: &[SandboxId]) -> Vec<String> {
        let Some(Deployment { name, dir, .. }) = self.deployment() else { return Vec::new() };
        let mut left = Vec::new();
        left.extend(processes().filter(|(_, line)| line.contains(&name)).map(|(pid, line)| format!("{pid}: {line}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(dir.to_str().unwrap())).map(str::to_owned));
        let groups = folders(Path::new("/sys/fs/cgroup"), &format!("longshore-{name}"), 6);
        let folders = groups.into_iter().chain([dir.clone(), dir.join("docker")]).flat_map(|folder| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path().display().to_string())
        });
        left.extend(folders.filter(|path| ["/etc", "/docker", "/images"].iter().all(|own| !path.ends_with(own))));
        if self.kind == Kind::Docker {
            let label = format!("label=longshore.deployment={name}");
            for kind in [&["ps", "--all", "--format", "{{.Names}}"][..], &["volume", "ls", "--quiet"]] {
                let found = docker(&[kind, &["--filter", &label]].concat());
                left.extend(found.lines().map(|line| format!("{}: {line}", kind[0])));
            }
        }
        left.retain(|what| !but.iter().any(|id| what.contains(&id.to_string())));
        left
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.server.take());
        let Some(deployment) = self.deployment() else { return };
        let (kind, name) = (self.kind, deployment.name.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let backend = kind.backend(deployment);
                for found in backend.list().await.unwrap() {
                    backend.destroy(found.id).await.unwrap();
                }
            });
        });
        let cleaned = cleaning.join();
        let left = self.left(&[]);
        for group in folders(Path::new("/sys/fs/cgroup"), &format!("longshore-{name}"), 6) {
            let _ = fs::remove_dir(group);
        }
        if std::thread::panicking() {
            let log = self.log();
            let told = log.lines().filter(|line| !line.contains("\"INFO\""));
            println!("{}", told.take(20).collect::<Vec<_>>().join("\n"));
        } else {
            assert!(cleaned.is_ok() && left.is_empty(), "left: {left:#?}");
        }
    }
}

/// Runs the engine's own client.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All processes of this machine, with their command lines.
pub(crate) fn processes() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    })
}

fn folders(folder: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 0 {
            found.extend(folders(&entry.path(), name, depth - 1));
        }
    }
    found
}
