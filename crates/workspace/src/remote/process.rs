//! Processes and terminals that are elsewhere.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use uuid::Uuid;

use super::{
    content::{self, Opened, Source},
    input,
    link::{Link, Repeat},
};
use crate::{
    Command, Error, ExitStatus, Process, ProcessControl, Reader, Signal, Terminal, TerminalControl, TerminalSize,
    wire::{Call, Output, progress},
};

pub(super) async fn spawn(link: &Arc<Link>, command: Command) -> Result<Process, Error> {
    let (control, stdout) = start(link, command, None).await?;
    Ok(Process {
        stdin: Some(input::writer(link.clone(), control.id, control.over())),
        stdout: control.reader(Output::Stdout, Some(stdout)),
        stderr: control.reader(Output::Stderr, None),
        control: Box::new(control),
    })
}

pub(super) async fn open_terminal(link: &Arc<Link>, command: Command, size: TerminalSize) -> Result<Terminal, Error> {
    let (control, output) = start(link, command, Some(size)).await?;
    Ok(Terminal {
        input: input::writer(link.clone(), control.id, control.over()),
        output: control.reader(Output::Stdout, Some(output)),
        control: Box::new(control),
    })
}

/// Starts a process, which is ended if this is given up.
async fn start(link: &Arc<Link>, command: Command, size: Option<TerminalSize>) -> Result<(Control, Opened), Error> {
    let id = Uuid::new_v4();
    link.hold(id);
    let control =
        Control { link: link.clone(), id, over: CancellationToken::new().drop_guard(), status: None, waiting: None };
    let call = Call::Start { id, command: command.into(), size };
    let stdout = follow(link, &call).await?;
    Ok((control, stdout))
}

/// Makes a call that gives output.
async fn follow(link: &Arc<Link>, call: &Call) -> Result<Opened, Error> {
    let mut progress = None;
    let content = || {
        let (told, tell) = watch::channel(0);
        progress = Some(told);
        progress::tell(tell)
    };
    let ((), incoming) = link.converse(call, Some(link.answer_timeout()), content).await?;
    Ok(Opened { incoming, progress })
}

/// A process that is elsewhere. Dropping this ends it.
struct Control {
    link: Arc<Link>,
    id: Uuid,
    over: DropGuard,
    status: Option<ExitStatus>,
    /// Waits for the end also while nobody waits for it, since whoever waits may give up and come again.
    waiting: Option<AbortOnDropHandle<Result<ExitStatus, Error>>>,
}

impl Control {
    /// What says that nobody holds the process any more.
    fn over(&self) -> CancellationToken {
        self.over.token().clone()
    }

    fn reader(&self, output: Output, opened: Option<Opened>) -> Reader {
        let source = ProcessOutput { link: self.link.clone(), id: self.id, output, over: self.over(), ended: false };
        content::reader(self.link.clone(), source, opened)
    }

    async fn order(&self, call: &Call) -> Result<(), Error> {
        self.link.ask(call, Repeat::Never).await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.link.release(self.id);
    }
}

#[async_trait]
impl ProcessControl for Control {
    async fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.order(&Call::Signal { id: self.id, signal, foreground: false }).await
    }

    async fn wait(&mut self) -> Result<ExitStatus, Error> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            let (link, id) = (self.link.clone(), self.id);
            AbortOnDropHandle::new(tokio::spawn(async move { link.wait_for(&Call::Wait { id }).await }))
        });
        let ended = waiting.await;
        // After an error, the next call asks again.
        self.waiting = None;
        let status = ended.map_err(|cause| Error::io("wait for a process", io::Error::other(cause))).flatten()?;
        self.status = Some(status);
        Ok(status)
    }
}

#[async_trait]
impl TerminalControl for Control {
    async fn signal_foreground(&self, signal: Signal) -> Result<(), Error> {
        self.order(&Call::Signal { id: self.id, signal, foreground: true }).await
    }

    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        self.link.ask(&Call::Resize { id: self.id, size }, Repeat::Safe).await
    }
}

/// One of a process's outputs. Dropping it closes the process's pipe.
struct ProcessOutput {
    link: Arc<Link>,
    id: Uuid,
    output: Output,
    over: CancellationToken,
    ended: bool,
}

impl Source for ProcessOutput {
    async fn open(&mut self, link: &Arc<Link>, offset: u64) -> Result<Opened, Error> {
        follow(link, &Call::Output { id: self.id, output: self.output, offset }).await
    }

    fn time(&self, _: &Link) -> Option<Duration> {
        None
    }

    fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for ProcessOutput {
    fn drop(&mut self) {
        if self.ended || self.over.is_cancelled() {
            return;
        }
        let (id, output, over) = (self.id, self.output, self.over.clone());
        self.link.later(async move |link| {
            // The whole process may be on its way out, piece by piece.
            if !over.is_cancelled() {
                let _: Result<(), _> = link.ask(&Call::CloseOutput { id, output }, Repeat::Safe).await;
            }
        });
    }
}
