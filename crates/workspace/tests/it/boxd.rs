//! A `boxd` is this test program again: [`process`] is what it does then.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use longshore_workspace::{
    Connect, Remote, RemoteOptions, Stream,
    boxd::{Address, Listen, Options, serve},
};
use tempfile::TempDir;
use tokio::net::UnixStream;

/// Tells this program to be a `boxd`: where it listens, where it works, its times in milliseconds, and variables of its
/// processes, each on a line.
const PART: &str = "LONGSHORE_TEST_BOXD";

/// How a `boxd` differs from the usual.
#[derive(Debug, Default, Clone)]
pub(crate) struct Setup {
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) linger: Option<Duration>,
    pub(crate) hold: Option<Duration>,
}

#[test]
fn process() {
    let Some(part) = std::env::var_os(PART) else { return };
    let part = part.into_string().expect("text");
    let mut part = part.split('\n');
    let mut next = || part.next().expect("all parts").to_owned();
    let listen = Listen::At(Address::Path(next().into()));
    let mut options = Options::new(next());
    let millis = |text: String| text.parse().ok().map(Duration::from_millis);
    options.linger = millis(next()).unwrap_or(options.linger);
    options.hold = millis(next()).unwrap_or(options.hold);
    options.environment.retain(|(name, _)| name != PART);
    for variable in part {
        let (name, value) = variable.split_once('=').expect("a variable");
        options.environment.push((name.into(), value.into()));
    }
    serve(listen, options).expect("it serves");
}

/// A `boxd` in a process of its own. Told to end with the test.
pub(crate) struct Boxd {
    process: Child,
    folder: TempDir,
    working_dir: PathBuf,
}

impl Boxd {
    pub(crate) fn start(working_dir: &Path, setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let millis = |time: Option<Duration>| time.map_or(String::new(), |time| time.as_millis().to_string());
        let mut part = vec![text(&socket), text(working_dir), millis(setup.linger), millis(setup.hold)];
        part.extend(setup.variables.into_iter().map(|(name, value)| format!("{name}={value}")));
        let program = std::env::current_exe().expect("this program");
        let mut command = std::process::Command::new(program);
        command.args(["--exact", "boxd::process", "--nocapture"]).env(PART, part.join("\n"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a boxd");
        Self { process, folder, working_dir: working_dir.to_owned() }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A new workspace that it serves.
    pub(crate) fn remote(&self) -> Remote {
        Remote::new(Arc::new(Socket(self.socket())), RemoteOptions::new(&self.working_dir))
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

impl Drop for Boxd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Connects to a socket.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) PathBuf);

#[async_trait]
impl Connect for Socket {
    async fn connect(&self) -> io::Result<Stream> {
        Ok(Box::new(UnixStream::connect(&self.0).await?))
    }
}
