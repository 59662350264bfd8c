//! One command that is not remembered: it has no events, and its answer is all there is of it.

use std::{sync::Arc, time::Duration};

use longshore_workspace::{Command, ExitStatus, Process, Reader, Signal, Workspace, Writer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use super::{BashService, Error, Place, Scope, new_id};

/// What a process gets to end after `SIGTERM`.
const TERMINATION_GRACE: Duration = Duration::from_secs(1);

/// How long pipes are read after `SIGKILL`: a process that left the group may hold them open.
const DRAIN_GRACE: Duration = Duration::from_millis(300);

const READ_SIZE: usize = 64 << 10;

/// A command that is not remembered.
#[derive(Debug, Clone)]
pub struct Once {
    /// What to run.
    pub command: Command,
    /// What it reads on standard input.
    pub stdin: Vec<u8>,
    /// How long it may take.
    pub timeout: Duration,
    /// Bytes that are kept of each of its outputs; what follows is read and thrown away.
    pub output: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Finished {
    /// How it ended; none if it did not end, however it was asked to.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// Whether its time was over before it ended.
    pub timed_out: bool,
}

/// The beginning of an output.
#[derive(Debug)]
pub struct Captured {
    /// What was kept.
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub is_cut: bool,
}

impl BashService {
    /// Runs a command to its end. It counts among the running commands of its owner. Dropping the future ends the command
    /// with all that it started.
    ///
    /// # Errors
    /// [`Error::TooManyCommands`], [`Error::Closing`]; [`Error::Workspace`] if it cannot be started.
    pub async fn once(&self, scope: &Scope, workspace: Arc<dyn Workspace>, once: Once) -> Result<Finished, Error> {
        let place = Place::take(&self.0, scope, &new_id())?;
        let process = workspace.spawn(once.command).await?;
        let capture = || Capture::new(once.output, &self.0.awaited);
        tokio::select! {
            finished = attend(process, once.stdin, once.timeout, [capture(), capture()]) => finished,
            () = place.service.closing.cancelled() => Err(Error::Closing),
        }
    }
}

/// How hard the end of a process is sought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// `SIGTERM` was sent.
    Terminating,
    /// `SIGKILL` was sent.
    Killed,
}

/// Reads what a process writes until it has ended and its pipes are closed.
async fn attend(
    process: Process,
    input: Vec<u8>,
    timeout: Duration,
    [mut out, mut err]: [Capture; 2],
) -> Result<Finished, Error> {
    let Process { stdin, mut stdout, mut stderr, mut control } = process;
    let mut feeding = std::pin::pin!(feed(stdin, input));
    let (mut is_fed, mut timed_out, mut status) = (false, false, None);
    let mut phase = Phase::Running;
    let mut phase_ends = Instant::now() + timeout;
    while status.is_none() || out.is_open || err.is_open {
        tokio::select! {
            () = &mut feeding, if !is_fed => {
                is_fed = true;
                continue;
            }
            () = out.read(&mut stdout), if out.is_open => continue,
            () = err.read(&mut stderr), if err.is_open => continue,
            ended = control.wait(), if status.is_none() => {
                status = Some(ended?);
                continue;
            }
            () = sleep_until(phase_ends) => {}
        }
        let (signal, grace) = match phase {
            Phase::Running => {
                timed_out = status.is_none();
                phase = Phase::Terminating;
                (Signal::Terminate, TERMINATION_GRACE)
            }
            Phase::Terminating => {
                phase = Phase::Killed;
                (Signal::Kill, DRAIN_GRACE)
            }
            Phase::Killed => break,
        };
        if let Err(error) = control.signal(signal).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a signal was not sent");
        }
        phase_ends = Instant::now() + grace;
    }
    if phase == Phase::Terminating {
        // The program obeyed; what it had started must end, too.
        let _ = control.signal(Signal::Kill).await;
    }
    Ok(Finished { status, stdout: out.captured(), stderr: err.captured(), timed_out })
}

/// Gives a process its input. One that does not read it all wants no more of it.
async fn feed(stdin: Option<Writer>, input: Vec<u8>) {
    let Some(mut stdin) = stdin else { return };
    if stdin.write_all(&input).await.is_ok() {
        let _ = stdin.shutdown().await;
    }
}

/// An output while it is read.
struct Capture {
    bytes: Vec<u8>,
    chunk: Vec<u8>,
    limit: usize,
    is_cut: bool,
    is_open: bool,
    /// The memory that all outputs share, and what this one has of it.
    memory: Arc<Semaphore>,
    room: Option<OwnedSemaphorePermit>,
}

impl Capture {
    fn new(limit: usize, memory: &Arc<Semaphore>) -> Self {
        let (bytes, chunk) = (Vec::new(), Vec::with_capacity(READ_SIZE));
        Self { bytes, chunk, limit, is_cut: false, is_open: true, memory: Arc::clone(memory), room: None }
    }

    /// Reads what is there. May be dropped without loss.
    async fn read(&mut self, pipe: &mut Reader) {
        self.is_open = pipe.read_buf(&mut self.chunk).await.is_ok_and(|bytes| bytes > 0);
        let kept = if self.is_cut { 0 } else { self.chunk.len().min(self.limit - self.bytes.len()) };
        if self.take_room(kept) {
            self.bytes.extend_from_slice(&self.chunk[..kept]);
        }
        self.is_cut |= kept < self.chunk.len();
        self.chunk.clear();
    }

    /// Whether there is memory for so much more; if not, the output ends here.
    fn take_room(&mut self, bytes: usize) -> bool {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.memory).try_acquire_many_owned(wanted) else {
            self.is_cut = true;
            return false;
        };
        match &mut self.room {
            Some(room) => room.merge(more),
            none => *none = Some(more),
        }
        true
    }

    fn captured(self) -> Captured {
        Captured { bytes: self.bytes, is_cut: self.is_cut }
    }
}
