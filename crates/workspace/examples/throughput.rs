//! What a workspace that is elsewhere costs, beside its floor: the same work without one.
//!
//! Prints one line of JSON. `cargo run --release -p longshore-workspace --example throughput`

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use longshore_workspace::{
    Command, Connect, Local, LocalOptions, Parents, Remote, RemoteOptions, Search, Stream, Workspace,
    boxd::{Address, Listen, Options, serve},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// Bytes of the file, and of what goes through processes.
const SIZE: u32 = 512 << 20;

/// How often everything is done; the median counts.
const ROUNDS: usize = 5;

/// Commands of a round, one after the other.
const COMMANDS: u32 = 200;

/// Places whose idle connections are weighed.
const PLACES: u32 = 50;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(socket), Some(folder)) = (arguments.next(), arguments.next()) {
        return Ok(serve(Listen::At(Address::Path(socket.into())), Options::new(folder))?);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, vec![7; SIZE as usize])?;
    let local = Local::new(LocalOptions::new(folder.path()))?;
    let started = Instant::now();
    let boxd = Boxd::start(folder.path(), 0)?;
    let remote = boxd.remote(folder.path());
    remote.ready().await?;
    let mut figures = BTreeMap::from([("boxd_start_ms", started.elapsed().as_secs_f64() * 1e3)]);

    figures.insert("file_read_mb_s_floor", rate(|| async { plain(&file) }).await?);
    figures.insert("file_read_mb_s_local", rate(|| read(&local)).await?);
    figures.insert("file_read_mb_s_remote", rate(|| read(&remote)).await?);
    figures.insert("file_write_mb_s_local", rate(|| write(&local)).await?);
    figures.insert("file_write_mb_s_remote", rate(|| write(&remote)).await?);
    figures.insert("output_mb_s_local", rate(|| output(&local)).await?);
    figures.insert("output_mb_s_remote", rate(|| output(&remote)).await?);
    figures.insert("input_mb_s_local", rate(|| input(&local)).await?);
    figures.insert("input_mb_s_remote", rate(|| input(&remote)).await?);
    figures.insert("command_us_local", each(|| commands(&local)).await?);
    figures.insert("command_us_remote", each(|| commands(&remote)).await?);
    figures.insert("stat_us_local", each(|| stats(&local)).await?);
    figures.insert("stat_us_remote", each(|| stats(&remote)).await?);
    figures.insert("search_us_local", each(|| searches(&local)).await?);
    figures.insert("search_us_remote", each(|| searches(&remote)).await?);
    figures.insert("boxd_rss_mb_after", resident(boxd.process.id())?);
    idle(folder.path(), &mut figures).await?;

    writeln!(io::stdout(), "{}", serde_json::to_string(&figures)?)?;
    Ok(())
}

/// What idle connections weigh, each after a file has come over it.
async fn idle(folder: &Path, figures: &mut BTreeMap<&'static str, f64>) -> Result<(), Error> {
    std::fs::write(folder.join("small"), vec![7; 8 << 20])?;
    let before = resident(std::process::id())?;
    let mut places = Vec::new();
    for number in 1..=PLACES {
        let boxd = Boxd::start(folder, number)?;
        let remote = boxd.remote(folder);
        let (_, mut reader) = remote.read("small".as_ref(), 0).await?;
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await?;
        places.push((boxd, remote));
    }
    figures.insert("idle_connection_mb", (resident(std::process::id())? - before) / f64::from(PLACES));
    let mut boxds: Vec<f64> = Vec::new();
    for (boxd, _) in &places {
        boxds.push(resident(boxd.process.id())?);
    }
    figures.insert("idle_boxd_rss_mb", median(boxds));
    Ok(())
}

fn plain(file: &Path) -> Result<(), Error> {
    let mut file = std::fs::File::open(file)?;
    let mut buffer = vec![0; 256 << 10];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

async fn read(workspace: &dyn Workspace) -> Result<(), Error> {
    let (_, mut reader) = workspace.read("file".as_ref(), 0).await?;
    let mut buffer = vec![0; 256 << 10];
    while reader.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn write(workspace: &dyn Workspace) -> Result<(), Error> {
    let chunk = vec![8; 256 << 10];
    let mut writer = workspace.write("written".as_ref(), Parents::Required).await?;
    for _ in 0..SIZE as usize / chunk.len() {
        writer.write(&chunk).await?;
    }
    Ok(writer.finish().await?)
}

async fn output(workspace: &dyn Workspace) -> Result<(), Error> {
    let mut process = workspace.spawn(Command::new("head").args(["-c", &SIZE.to_string(), "/dev/zero"])).await?;
    let mut buffer = vec![0; 256 << 10];
    while process.stdout.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn input(workspace: &dyn Workspace) -> Result<(), Error> {
    let mut process = workspace.spawn(Command::new("sh").args(["-c", "cat >/dev/null"])).await?;
    let chunk = vec![8; 256 << 10];
    if let Some(mut stdin) = process.stdin.take() {
        for _ in 0..SIZE as usize / chunk.len() {
            stdin.write_all(&chunk).await?;
        }
        stdin.flush().await?;
    }
    process.control.wait().await?;
    Ok(())
}

async fn commands(workspace: &dyn Workspace) -> Result<(), Error> {
    for _ in 0..COMMANDS {
        let mut process = workspace.spawn(Command::new("/bin/true")).await?;
        drop(process.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (one, other) =
            tokio::join!(process.stdout.read_to_end(&mut stdout), process.stderr.read_to_end(&mut stderr));
        one?;
        other?;
        process.control.wait().await?;
    }
    Ok(())
}

async fn stats(workspace: &dyn Workspace) -> Result<(), Error> {
    for _ in 0..COMMANDS {
        workspace.metadata("file".as_ref()).await?;
    }
    Ok(())
}

async fn searches(workspace: &dyn Workspace) -> Result<(), Error> {
    for _ in 0..COMMANDS {
        workspace.search(Search::new("").include("nothing")).await?;
    }
    Ok(())
}

/// Megabytes a second.
async fn rate<F: Future<Output = Result<(), Error>>>(work: impl Fn() -> F) -> Result<f64, Error> {
    Ok(f64::from(SIZE) / 1e6 / time(work).await?.as_secs_f64())
}

/// Microseconds for one of many.
async fn each<F: Future<Output = Result<(), Error>>>(work: impl Fn() -> F) -> Result<f64, Error> {
    Ok(time(work).await?.as_secs_f64() * 1e6 / f64::from(COMMANDS))
}

async fn time<F: Future<Output = Result<(), Error>>>(work: impl Fn() -> F) -> Result<Duration, Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work().await?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(times)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A process's memory in megabytes.
fn resident(pid: u32) -> Result<f64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1e3)
}

/// This program as a `boxd`.
struct Boxd {
    process: Child,
    socket: PathBuf,
}

impl Boxd {
    fn start(folder: &Path, number: u32) -> Result<Self, Error> {
        let socket = folder.join(format!("socket{number}"));
        let program = std::env::current_exe()?;
        let process = std::process::Command::new(program).arg(&socket).arg(folder).stdin(Stdio::null()).spawn()?;
        Ok(Self { process, socket })
    }

    fn remote(&self, folder: &Path) -> Remote {
        Remote::new(Arc::new(Socket(self.socket.clone())), RemoteOptions::new(folder))
    }
}

impl Drop for Boxd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Socket(PathBuf);

#[async_trait]
impl Connect for Socket {
    async fn connect(&self) -> io::Result<Stream> {
        Ok(Box::new(UnixStream::connect(&self.0).await?))
    }
}
