//! Measures boxes: from the wish to the output of the first command, one after the other, beside what the machine takes
//! at least for a process in the same namespaces. Prints JSON.
//!
//! ```text
//! cargo build --release -p longshore
//! cargo run --release -p longshore-sandbox --example boxes -- --backend bubblewrap --boxes 100
//! cargo run --release -p longshore-sandbox --example boxes -- --backend docker:debian --boxes 20 --memory 1073741824
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Write as _},
    path::PathBuf,
    process::{Command as Program, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use longshore_sandbox::{
    Backend, Bubblewrap, BubblewrapOptions, Deployment, Docker, DockerOptions, Limits, Network, SandboxId, Spec,
};
use longshore_workspace::{Command, Connect, Remote, RemoteOptions, Stream, Workspace as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a namespace of each kind costs alone.
const FLOOR: [&str; 15] = [
    "bwrap",
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "true",
];

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::from_arguments()?;
    let folder = tempfile::tempdir()?;
    let backend = plan.backend(folder.path().join("boxes"))?;
    backend.check().await?;
    backend.prepare(&plan.spec, &|_, _| ()).await?;
    let mut times = BTreeMap::<&str, Vec<Duration>>::new();
    for round in 0..plan.boxes + WARM_UP {
        let floor = floor(&plan.floor)?;
        let parts = one(&backend, &plan.spec).await?;
        if round >= WARM_UP {
            for (name, time) in parts.into_iter().chain([("floor", floor)]) {
                times.entry(name).or_default().push(time);
            }
        }
    }
    let mut report = json!({"backend": plan.name, "boxes": plan.boxes, "floor_command": plan.floor.join(" ")});
    for (name, times) in times {
        report[format!("{name}_ms")] = percentiles(times);
    }
    writeln!(io::stdout(), "{report:#}")?;
    Ok(())
}

/// Rounds that are not counted: the first boxes look for control groups and read programs from the disk.
const WARM_UP: usize = 2;

struct Plan {
    name: String,
    boxes: usize,
    program: PathBuf,
    spec: Spec,
    floor: Vec<String>,
}

impl Plan {
    fn from_arguments() -> Result<Self> {
        let beside = std::env::current_exe()?.parent().and_then(|folder| Some(folder.parent()?.join("longshore")));
        let named = std::env::var_os("LONGSHORE_PROGRAM").map(PathBuf::from);
        let program =
            named.or(beside.filter(|path| path.is_file())).ok_or("build longshore first, or set LONGSHORE_PROGRAM")?;
        let (mut name, mut boxes, mut limits) = ("bubblewrap".to_owned(), 50, Limits::default());
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or("every option has a value")?;
            match argument.as_str() {
                "--backend" => name = value,
                "--boxes" => boxes = value.parse()?,
                "--memory" => limits.memory = Some(value.parse()?),
                "--disk" => limits.disk = Some(value.parse()?),
                "--pids" => limits.pids = Some(value.parse()?),
                other => return Err(format!("there is no option {other}").into()),
            }
        }
        let image = name.split_once(':').map(|(_, image)| image.to_owned());
        let floor = match &image {
            Some(image) => ["docker", "run", "--rm", "--network", "none", image, "true"].map(str::to_owned).into(),
            None => FLOOR.map(str::to_owned).into(),
        };
        let spec = Spec {
            image,
            limits,
            network: Network::Closed,
            env: BTreeMap::new(),
            working_dir: "/workspace".into(),
            volumes: Vec::new(),
            timeout: None,
        };
        Ok(Self { name, boxes, program, spec, floor })
    }

    fn backend(&self, dir: PathBuf) -> Result<Arc<dyn Backend>> {
        let name = format!("bench{}", std::process::id());
        let deployment = Deployment { name, dir, program: self.program.clone() };
        Ok(match self.name.split(':').next() {
            Some("bubblewrap") => Arc::new(Bubblewrap::new(deployment, BubblewrapOptions::default())),
            Some("docker") => {
                let options = DockerOptions { address: std::env::var("DOCKER_HOST").ok(), ..DockerOptions::default() };
                Arc::new(Docker::new(deployment, options))
            }
            _ => return Err("the backend is bubblewrap or docker:IMAGE".into()),
        })
    }
}

/// One box, from its creation to its end.
async fn one(backend: &Arc<dyn Backend>, spec: &Spec) -> Result<Vec<(&'static str, Duration)>> {
    let id = SandboxId::random();
    let lived = live(backend, id, spec).await;
    let begin = Instant::now();
    backend.destroy(id).await?;
    let mut times = lived?;
    times.push(("destroy", begin.elapsed()));
    Ok(times)
}

async fn live(backend: &Arc<dyn Backend>, id: SandboxId, spec: &Spec) -> Result<Vec<(&'static str, Duration)>> {
    let begin = Instant::now();
    backend.create(id, spec).await?;
    let created = Instant::now();
    backend.start(id, spec).await?;
    let started = Instant::now();
    let connector = Connector { backend: Arc::clone(backend), id };
    let workspace = Remote::new(Arc::new(connector), RemoteOptions::new(&spec.working_dir));
    let run = async || -> Result<()> {
        let mut process = workspace.spawn(Command::new("echo").arg("ready")).await?;
        let mut said = String::new();
        process.stdout.read_to_string(&mut said).await?;
        if said == "ready\n" { Ok(()) } else { Err(format!("the first command says {said:?}").into()) }
    };
    run().await?;
    let first = Instant::now();
    run().await?;
    Ok(vec![
        ("create", created.duration_since(begin)),
        ("start", started.duration_since(created)),
        ("first_command", first.duration_since(started)),
        ("create_to_first_command", first.duration_since(begin)),
        ("second_command", first.elapsed()),
    ])
}

#[derive(Debug)]
struct Connector {
    backend: Arc<dyn Backend>,
    id: SandboxId,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> io::Result<Stream> {
        self.backend.open(self.id).await
    }
}

/// The least that this machine takes.
fn floor(command: &[String]) -> Result<Duration> {
    let [program, arguments @ ..] = command else { return Err("nothing to compare with".into()) };
    let begin = Instant::now();
    let status = Program::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(begin.elapsed()) } else { Err(format!("{program} ended with {status}").into()) }
}

fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map(|time| (time.as_secs_f64() * 100_000.0).round() / 100.0)
    };
    json!({"p50": at(50), "p90": at(90)})
}
