//! A `boxd` is this test program again: [`process`] is what it does then.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Stdio},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use longshore_workspace::{
    Connect, Remote, RemoteOptions, Stream,
    boxd::{Address, Listen, Options, relay, serve},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// Tells this program to be a `boxd`: where it listens, where it works, its times in milliseconds, its proxy's port,
/// and variables of its processes, each on a line.
const PART: &str = "LONGSHORE_TEST_BOXD";

/// How a `boxd` differs from the usual.
#[derive(Debug, Default, Clone)]
pub(crate) struct Setup {
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) linger: Option<Duration>,
    pub(crate) hold: Option<Duration>,
    pub(crate) proxy_port: Option<u16>,
    /// The name of a socket without a file.
    pub(crate) name: Option<String>,
}

/// Tells this program to relay to a socket, with standard error in the place of standard output, which is the harness's.
const RELAY: &str = "LONGSHORE_TEST_RELAY";

#[test]
#[expect(clippy::exit, reason = "the harness would say something where only what is relayed belongs")]
fn relay_process() {
    let Some(socket) = std::env::var_os(RELAY) else { return };
    rustix::stdio::dup2_stdout(io::stderr()).expect("another output");
    let relayed = relay(&Address::parse(&socket), Duration::from_secs(20));
    std::process::exit(i32::from(relayed.is_err()));
}

#[test]
fn process() {
    let Some(part) = std::env::var_os(PART) else { return };
    let part = part.into_string().expect("text");
    let mut part = part.split('\n');
    let mut next = || part.next().expect("all parts").to_owned();
    let listen = Listen::At(Address::parse(next().as_ref()));
    let mut options = Options::new(next());
    let millis = |text: String| text.parse().ok().map(Duration::from_millis);
    options.linger = millis(next()).unwrap_or(options.linger);
    options.hold = millis(next()).unwrap_or(options.hold);
    options.proxy_port = next().parse().ok();
    options.environment.retain(|(name, _)| name != PART);
    for variable in part {
        let (name, value) = variable.split_once('=').expect("a variable");
        options.environment.push((name.into(), value.into()));
    }
    // A test that is killed leaves none behind.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).expect("a signal");
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
        let port = setup.proxy_port.map_or(String::new(), |port| port.to_string());
        let address = setup.name.map_or(text(&socket), |name| format!("@{name}"));
        let mut part = vec![address, text(working_dir), millis(setup.linger), millis(setup.hold), port];
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

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
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

/// Connects through a process that relays.
#[derive(Debug)]
pub(crate) struct Relay(pub(crate) PathBuf);

#[async_trait]
impl Connect for Relay {
    async fn connect(&self) -> io::Result<Stream> {
        let program = std::env::current_exe().expect("this program");
        let mut command = tokio::process::Command::new(program);
        command.args(["--exact", "boxd::relay_process", "--nocapture"]).env(RELAY, &self.0).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take().expect("its input"), child.stderr.take().expect("its output"));
        Ok(Box::new(Relayed { both: tokio::io::join(output, input), _child: child }))
    }
}

struct Relayed {
    both: tokio::io::Join<tokio::process::ChildStderr, tokio::process::ChildStdin>,
    _child: tokio::process::Child,
}

impl AsyncRead for Relayed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.both).poll_read(cx, buf)
    }
}

impl AsyncWrite for Relayed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.both).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.both).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.both).poll_shutdown(cx)
    }
}
