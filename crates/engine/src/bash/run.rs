//! One command, from its start to its last output.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use longshore_protocol::bash::{BashCommand, BashOutput};
use longshore_workspace::{Command, Process, Signal, Workspace};
use tokio::{
    io::AsyncReadExt,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep_until},
};

use super::{Error, Place, decode::Decoder, empty_output};

/// What a process gets to end after `SIGTERM`.
const TERMINATION_GRACE: Duration = Duration::from_secs(1);

/// How long pipes are read after `SIGKILL`: a process that left the group may hold them open.
const DRAIN_GRACE: Duration = Duration::from_millis(300);

/// The longest time limit that is told from none.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// How long output waits for more before it is published the first time. A command that ends sooner has one output.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long output waits for more at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How much output is published at once the first time; doubles each time, so that a flood makes few events.
const FIRST_CHUNK: usize = 64 << 10;

/// How much output is published at once at most: many WebSocket clients take frames of 1 MiB at most.
const LARGEST_CHUNK: usize = 512 << 10;

const READ_SIZE: usize = 64 << 10;

/// What stands in the place of output that is not kept in memory.
const NO_MEMORY: &str = "\n[The server holds too much output for others; the rest is in the command's events.]\n";

/// Runs a command. `stored` hears when the command itself is stored; the result is the last output, with all that was
/// written if `collect`.
pub(super) async fn run(
    place: &Place,
    workspace: Arc<dyn Workspace>,
    command: BashCommand,
    stored: oneshot::Sender<()>,
    collect: bool,
) -> Result<BashOutput, Error> {
    let mut outputs = Outputs::new(place, &command.id, collect);
    let limit = Duration::from_secs(command.timeout).min(LONGEST);
    let shell = shell(&command);
    // The process starts while the command is being stored; nobody sees an output before the command.
    let (appended, spawned) = tokio::join!(place.append(command.into()), workspace.spawn(shell));
    appended?;
    let _ = stored.send(());
    let exit_code = match spawned {
        Ok(process) => attend(place, &mut outputs, process, limit).await?,
        Err(error) => {
            outputs.remark(&format!("The command could not be started: {error}"));
            -1
        }
    };
    outputs.finish(exit_code).await
}

fn shell(command: &BashCommand) -> Command {
    let shell = Command::new("/bin/sh").arg("-c").arg(&command.command);
    match &command.cwd {
        Some(folder) => shell.cwd(folder),
        None => shell,
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

/// Reads what a process writes until it has ended and its pipes are closed. Returns its exit code.
async fn attend(place: &Place, outputs: &mut Outputs<'_>, process: Process, limit: Duration) -> Result<i32, Error> {
    let Process { stdin, mut stdout, mut stderr, mut control } = process;
    drop(stdin);
    let (mut stdout_bytes, mut stderr_bytes) = (Vec::with_capacity(READ_SIZE), Vec::with_capacity(READ_SIZE));
    let (mut stdout_open, mut stderr_open) = (true, true);
    let mut phase = Phase::Running;
    let mut phase_ends = Instant::now() + limit;
    let mut status = None;
    let mut timed_out = false;
    while status.is_none() || stdout_open || stderr_open {
        let wish = tokio::select! {
            read = stdout.read_buf(&mut stdout_bytes), if stdout_open => {
                stdout_open = read.is_ok_and(|bytes| bytes > 0);
                outputs.stdout(&mut stdout_bytes).await?;
                continue;
            }
            read = stderr.read_buf(&mut stderr_bytes), if stderr_open => {
                stderr_open = read.is_ok_and(|bytes| bytes > 0);
                outputs.stderr(&mut stderr_bytes).await?;
                continue;
            }
            ended = control.wait(), if status.is_none() => {
                status = Some(match ended {
                    Ok(status) => status.shell_code(),
                    Err(error) => {
                        outputs.remark(&format!("The command did not complete; it was lost with the place it ran in: {error}"));
                        -1
                    }
                });
                continue;
            }
            () = sleep_until(outputs.due.unwrap_or(phase_ends)), if outputs.due.is_some() => {
                outputs.publish().await?;
                continue;
            }
            () = sleep_until(phase_ends) => match phase {
                Phase::Running => {
                    timed_out = status.is_none();
                    Phase::Terminating
                }
                Phase::Terminating => Phase::Killed,
                Phase::Killed => break,
            },
            () = place.running.stop.cancelled(), if phase == Phase::Running => Phase::Terminating,
            () = place.service.closing.cancelled(), if phase != Phase::Killed => Phase::Killed,
        };
        let (signal, grace) = match wish {
            Phase::Running | Phase::Terminating => (Signal::Terminate, TERMINATION_GRACE),
            Phase::Killed => (Signal::Kill, DRAIN_GRACE),
        };
        if let Err(error) = control.signal(signal).await {
            tracing::warn!(error = &error as &dyn std::error::Error, command.id = place.id, "a signal was not sent");
        }
        phase = wish;
        phase_ends = Instant::now() + grace;
    }
    if phase == Phase::Terminating {
        // The shell obeyed; what it had started must end, too.
        let _ = control.signal(Signal::Kill).await;
    }
    Ok(if timed_out { -1 } else { status.unwrap_or(-1) })
}

/// What a command wrote and how much of it has been published.
struct Outputs<'a> {
    place: &'a Place,
    command_id: String,
    order: u64,
    stdout: Stream,
    stderr: Stream,
    /// When what waits must be published.
    due: Option<Instant>,
    pause: Duration,
    chunk: usize,
    /// Bytes that may still be kept; none once some were not.
    room: Option<usize>,
    /// What was published, for the caller who waits for everything.
    collected: Option<Collected>,
}

/// Standard output and standard error as far as there is room in memory.
#[derive(Default)]
struct Collected {
    stdout: String,
    stderr: String,
    room: Option<OwnedSemaphorePermit>,
    is_full: bool,
}

impl Collected {
    fn push(&mut self, output: &BashOutput, memory: &Arc<Semaphore>) {
        if self.is_full {
            return;
        }
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| text.as_deref().unwrap_or_default());
        let bytes = u32::try_from(stdout.len() + stderr.len()).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(memory).try_acquire_many_owned(bytes) else {
            self.is_full = true;
            self.stderr.push_str(NO_MEMORY);
            return;
        };
        match &mut self.room {
            Some(all) => all.merge(room),
            none => *none = Some(room),
        }
        self.stdout.push_str(stdout);
        self.stderr.push_str(stderr);
    }
}

#[derive(Default)]
struct Stream {
    decoder: Decoder,
    text: String,
}

impl<'a> Outputs<'a> {
    fn new(place: &'a Place, command_id: &str, collect: bool) -> Self {
        Self {
            place,
            command_id: command_id.to_owned(),
            order: 0,
            stdout: Stream::default(),
            stderr: Stream::default(),
            due: None,
            pause: FIRST_PAUSE,
            chunk: FIRST_CHUNK,
            room: Some(place.service.limits.output),
            collected: collect.then(Collected::default),
        }
    }

    async fn stdout(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        Self::take(&mut self.stdout, &mut self.room, self.place, bytes);
        self.publish_if_large().await
    }

    async fn stderr(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        Self::take(&mut self.stderr, &mut self.room, self.place, bytes);
        self.publish_if_large().await
    }

    /// Says something that the command did not.
    fn remark(&mut self, text: &str) {
        self.stderr.decoder.finish(&mut self.stderr.text);
        self.stderr.text.push_str(text);
    }

    /// Moves what was read into the stream, as far as there is room.
    fn take(stream: &mut Stream, room: &mut Option<usize>, place: &Place, bytes: &mut Vec<u8>) {
        if let Some(left) = *room {
            let kept = bytes.len().min(left);
            stream.decoder.push(&bytes[..kept], &mut stream.text);
            *room = Some(left - kept);
            if kept < bytes.len() {
                stream.decoder.finish(&mut stream.text);
                let limit = place.service.limits.output;
                let _ = write!(stream.text, "\n[The output is longer than {limit} bytes; the rest is not kept.]\n");
                *room = None;
            }
        }
        bytes.clear();
    }

    async fn publish_if_large(&mut self) -> Result<(), Error> {
        let waiting = self.stdout.text.len() + self.stderr.text.len();
        if waiting >= self.chunk {
            self.publish().await
        } else {
            if waiting > 0 && self.due.is_none() {
                self.due = Some(Instant::now() + self.pause);
            }
            Ok(())
        }
    }

    /// Publishes what waits.
    async fn publish(&mut self) -> Result<(), Error> {
        let output = self.next_output(None);
        if let Some(collected) = &mut self.collected {
            collected.push(&output, &self.place.service.awaited);
        }
        self.pause = LONGEST_PAUSE.min(self.pause + FIRST_PAUSE / 4);
        self.chunk = LARGEST_CHUNK.min(self.chunk * 2);
        self.place.append(output.into()).await
    }

    /// Publishes the last output and returns it with all that was collected.
    async fn finish(mut self, exit_code: i32) -> Result<BashOutput, Error> {
        self.stdout.decoder.finish(&mut self.stdout.text);
        self.stderr.decoder.finish(&mut self.stderr.text);
        let output = self.next_output(Some(exit_code));
        self.place.append(output.clone().into()).await?;
        Ok(match self.collected {
            Some(Collected { stdout, stderr, .. }) => {
                BashOutput { stdout: joined(stdout, output.stdout), stderr: joined(stderr, output.stderr), ..output }
            }
            None => output,
        })
    }

    fn next_output(&mut self, exit_code: Option<i32>) -> BashOutput {
        self.due = None;
        let order = self.order;
        self.order += 1;
        BashOutput {
            order,
            exit_code,
            stdout: taken(&mut self.stdout.text),
            stderr: taken(&mut self.stderr.text),
            ..empty_output(&self.command_id)
        }
    }
}

fn taken(text: &mut String) -> Option<String> {
    Some(std::mem::take(text)).filter(|text| !text.is_empty())
}

fn joined(mut text: String, rest: Option<String>) -> Option<String> {
    if text.is_empty() {
        return rest;
    }
    text.push_str(rest.as_deref().unwrap_or_default());
    Some(text)
}
