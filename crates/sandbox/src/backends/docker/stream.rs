//! The two ways to `boxd` in a container: its socket, where this machine shares a folder with the box, and a process that the
//! engine starts in the box and whose input and output it carries here. The socket is faster by far; the process works
//! with every engine.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    sync::Arc,
};

use bollard::{
    Docker as Client,
    container::LogOutput,
    errors::Error as Refusal,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use longshore_workspace::Stream;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use tokio::net::UnixStream;
use tokio_util::io::StreamReader;

use super::{
    engine::{is_conflict, is_missing, message},
    layout::{PROGRAM, SOCKET},
};

/// How many bytes of output are taken from the engine at once.
const CHUNK: usize = 128 * 1024;
/// How many bytes of what the process complains about are kept.
const COMPLAINT_LIMIT: usize = 2 * 1024;

/// Connects to the socket that `boxd` made in the folder `run_dir`.
///
/// The box can put anything in the place of the socket. So it is looked at without following links, and what was looked at
/// is what is connected to.
pub(super) async fn connect(run_dir: &Path) -> io::Result<Stream> {
    let folder = rustix::fs::openat(CWD, run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = rustix::fs::openat(&folder, SOCKET, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&socket)?;
    if !FileType::from_raw_mode(stat.st_mode).is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the box has put something else in the place of its socket",
        ));
    }
    let stream = UnixStream::connect(format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd())).await?;
    Ok(Box::new(stream))
}

/// Removes the socket of the last time, if there is one.
pub(super) fn remove_socket(run_dir: &Path) -> io::Result<()> {
    let open = rustix::fs::openat(CWD, run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let removed = open.and_then(|folder| rustix::fs::unlinkat(&folder, SOCKET, AtFlags::empty()));
    match removed {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Starts a process in `container` that carries bytes between its own input and output and the socket of `boxd`.
pub(super) async fn exec(client: &Client, container: &str, socket: &str) -> io::Result<Stream> {
    let command = [PROGRAM, "boxd", "--connect", socket].map(str::to_owned);
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.into()),
        ..ExecConfig::default()
    };
    let exec = client.create_exec(container, config).await.map_err(refused)?;
    let options = StartExecOptions { output_capacity: Some(CHUNK), ..StartExecOptions::default() };
    match client.start_exec(&exec.id, Some(options)).await.map_err(refused)? {
        StartExecResults::Attached { output, input } => Ok(Box::new(tokio::io::join(reader(output), input))),
        StartExecResults::Detached => Err(io::Error::other("the engine did not attach the process")),
    }
}

type Output = std::pin::Pin<Box<dyn futures::Stream<Item = Result<LogOutput, Refusal>> + Send>>;

/// The standard output of a process. What it writes to standard error is the reason if its output ends.
fn reader(output: Output) -> impl tokio::io::AsyncRead + Send + Unpin {
    let complaint = Arc::new(Mutex::new(String::new()));
    let heard = complaint.clone();
    let bytes = output.map_err(refused).try_filter_map(move |chunk| {
        let bytes = match chunk {
            LogOutput::StdErr { message } => {
                let mut complaint = heard.lock();
                let room = COMPLAINT_LIMIT.saturating_sub(complaint.len());
                complaint.push_str(&String::from_utf8_lossy(&message[..message.len().min(room)]));
                None
            }
            chunk => Some(chunk.into_bytes()).filter(|bytes| !bytes.is_empty()),
        };
        std::future::ready(Ok(bytes))
    });
    let end = futures::stream::once(async move {
        let complaint = complaint.lock();
        match complaint.trim() {
            "" => Ok(Bytes::new()),
            complaint => Err(io::Error::new(io::ErrorKind::ConnectionAborted, complaint)),
        }
    });
    StreamReader::new(Box::pin(bytes.chain(end)))
}

fn refused(refusal: Refusal) -> io::Error {
    let kind =
        if is_missing(&refusal) || is_conflict(&refusal) { io::ErrorKind::NotConnected } else { io::ErrorKind::Other };
    io::Error::new(kind, message(&refusal))
}
