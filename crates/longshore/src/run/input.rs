//! What the user types.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result};
use rustix::termios::{QueueSelector, tcflush};
use tokio::sync::oneshot;

use crate::failure::usage;

/// Bytes of a task.
const MAX_TASK: u64 = 1 << 20;
/// Bytes of a line.
const MAX_LINE: u64 = 64 << 10;

/// Whether standard input is a terminal: then there is somebody to ask.
pub(crate) fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// All of standard input, as a task.
pub(crate) fn read_task() -> Result<String> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_TASK + 1)
        .read_to_end(&mut bytes)
        .context("the task cannot be read from standard input")?;
    if bytes.len() as u64 > MAX_TASK {
        return Err(usage(format!(
            "the task has more than {MAX_TASK} bytes: put it into a file and name that in the task"
        )));
    }
    String::from_utf8(bytes).map_err(|_| usage("the task on standard input is not UTF-8 text"))
}

/// Lines of standard input, read by a thread only when one is wanted: a read that nobody waits for any more does not hold
/// up the end of the program.
#[derive(Debug, Default)]
pub(crate) struct Input {
    wishes: Option<mpsc::Sender<oneshot::Sender<Option<String>>>>,
}

impl Input {
    /// Throws away what was typed before a question is seen: it is no answer to it.
    pub(crate) fn discard() {
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    }

    /// The next line; none at the end of the input.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.wishes.get_or_insert_with(start).send(reply).ok()?;
        answer.await.ok().flatten()
    }
}

fn start() -> mpsc::Sender<oneshot::Sender<Option<String>>> {
    let (wishes, received) = mpsc::channel::<oneshot::Sender<Option<String>>>();
    thread::spawn(move || {
        for reply in received {
            let _ = reply.send(read_line());
        }
    });
    wishes
}

fn read_line() -> Option<String> {
    let mut bytes = Vec::new();
    match io::stdin().lock().take(MAX_LINE).read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
    }
}
