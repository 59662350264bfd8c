//! Processes that outlive the connections over which they are used.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{client::Presence, input::Input, output::Outlet};
use crate::{
    Command, Error, ExitStatus, Local, Process, ProcessControl, Signal, Terminal, TerminalControl, TerminalSize,
    Workspace as _,
    wire::{Failure, Output},
};

/// How many orders to one process wait for each other.
const MAX_ORDERS: usize = 16;

/// The place of a process, which is being started, or was. Dropping it ends the process.
pub(super) struct Entry {
    started: watch::Receiver<Option<Started>>,
    _room: OwnedSemaphorePermit,
}

type Started = Result<Arc<Running>, Failure>;

/// A process that was started. Dropping it kills the process with its group or session.
pub(super) struct Running {
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<Option<Result<ExitStatus, Failure>>>,
    stdout: Arc<Outlet>,
    stderr: Option<Arc<Outlet>>,
    input: Arc<Input>,
    over: DropGuard,
}

/// What can be asked of a process.
enum Order {
    Signal { signal: Signal, foreground: bool, done: Done },
    Resize { size: TerminalSize, done: Done },
}

type Done = oneshot::Sender<Result<(), Error>>;

enum Control {
    Process(Box<dyn ProcessControl>),
    Terminal(Box<dyn TerminalControl>),
}

impl Entry {
    /// Begins to start a process, once, whoever waits for it.
    pub(super) fn start(
        local: Local,
        command: Command,
        size: Option<TerminalSize>,
        circumstances: Circumstances,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let (start, started) = watch::channel(None);
        tokio::spawn(async move {
            let running = match size {
                None => local.spawn(command).await.map(|process| Running::process(process, circumstances)),
                Some(size) => {
                    let terminal = local.open_terminal(command, size).await;
                    terminal.map(|terminal| Running::terminal(terminal, circumstances))
                }
            };
            // If nobody wants it any more, it ends here.
            let _ = start.send(Some(running.map(Arc::new).map_err(Failure::from)));
        });
        Self { started, _room: room }
    }

    /// The process, as soon as it was started.
    pub(super) async fn started(&self) -> Started {
        let mut started = self.started.clone();
        let started = started.wait_for(Option::is_some).await.map_err(|_| Failure::UnknownProcess)?;
        started.clone().unwrap_or(Err(Failure::UnknownProcess))
    }

    /// The process, if it was started.
    pub(super) fn running(&self) -> Started {
        self.started.borrow().clone().unwrap_or(Err(Failure::UnknownProcess))
    }

    /// Whether nothing is left to be waited for.
    pub(super) fn is_over(&self) -> bool {
        match &*self.started.borrow() {
            None => false,
            Some(Ok(running)) => running.ended.borrow().is_some(),
            Some(Err(_)) => true,
        }
    }
}

/// What a process's output depends on, besides its readers.
pub(super) struct Circumstances {
    /// Whether the server is connected.
    pub(super) presence: watch::Receiver<Presence>,
    /// How long output waits for a server that is gone.
    pub(super) hold: std::time::Duration,
}

impl Running {
    fn process(process: Process, circumstances: Circumstances) -> Self {
        let Process { stdin, stdout, stderr, control } = process;
        let over = CancellationToken::new();
        let Circumstances { presence, hold } = circumstances;
        let stderr = Outlet::open(stderr, presence.clone(), hold, over.clone());
        Self::new(
            Control::Process(control),
            Input::new(stdin),
            Outlet::open(stdout, presence, hold, over.clone()),
            Some(stderr),
            over,
        )
    }

    fn terminal(terminal: Terminal, circumstances: Circumstances) -> Self {
        let Terminal { output, input, control } = terminal;
        let over = CancellationToken::new();
        let Circumstances { presence, hold } = circumstances;
        let output = Outlet::open(output, presence, hold, over.clone());
        Self::new(Control::Terminal(control), Input::new(Some(input)), output, None, over)
    }

    fn new(
        control: Control,
        input: Input,
        stdout: Arc<Outlet>,
        stderr: Option<Arc<Outlet>>,
        over: CancellationToken,
    ) -> Self {
        let (orders, received) = mpsc::channel(MAX_ORDERS);
        let (end, ended) = watch::channel(None);
        tokio::spawn(attend(control, received, end));
        Self { orders, ended, stdout, stderr, input: Arc::new(input), over: over.drop_guard() }
    }

    pub(super) fn output(&self, output: Output) -> Result<&Arc<Outlet>, Failure> {
        match output {
            Output::Stdout => Ok(&self.stdout),
            Output::Stderr => {
                self.stderr.as_ref().ok_or_else(|| Failure::refused("read a terminal", "it has one output only"))
            }
        }
    }

    /// The input, and what says that it is over with the process.
    pub(super) fn input(&self) -> (Arc<Input>, CancellationToken) {
        (self.input.clone(), self.over.token().clone())
    }

    /// How the process ended, as soon as it has; nothing if it is ended by [`Entry`]'s end.
    pub(super) fn ended(&self) -> impl Future<Output = Result<ExitStatus, Failure>> + use<> {
        let mut ended = self.ended.clone();
        async move {
            let ended = ended.wait_for(Option::is_some).await.map_err(|_| Failure::UnknownProcess)?;
            ended.clone().unwrap_or(Err(Failure::UnknownProcess))
        }
    }

    pub(super) fn signal(&self, signal: Signal, foreground: bool) -> impl Future<Output = Result<(), Failure>> + use<> {
        let (done, carried_out) = oneshot::channel();
        self.order(Order::Signal { signal, foreground, done }, carried_out)
    }

    pub(super) fn resize(&self, size: TerminalSize) -> impl Future<Output = Result<(), Failure>> + use<> {
        let (done, carried_out) = oneshot::channel();
        self.order(Order::Resize { size, done }, carried_out)
    }

    fn order(
        &self,
        order: Order,
        carried_out: oneshot::Receiver<Result<(), Error>>,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let sent = self.orders.try_send(order);
        async move {
            sent.map_err(|_| Failure::refused("signal a process", "too many signals wait already"))?;
            Ok(carried_out.await.map_err(|_| Failure::UnknownProcess)??)
        }
    }
}

/// Carries out what is asked of a process and waits for its end, until nobody can ask for anything any more.
async fn attend(
    mut control: Control,
    mut orders: mpsc::Receiver<Order>,
    ended: watch::Sender<Option<Result<ExitStatus, Failure>>>,
) {
    loop {
        let running = ended.borrow().is_none();
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => order.carry_out(&control).await,
                None => return,
            },
            end = control.wait(), if running => {
                ended.send_replace(Some(end.map_err(Failure::from)));
            }
        }
    }
}

impl Order {
    async fn carry_out(self, control: &Control) {
        // Whoever asked may have gone.
        let _ = match self {
            Self::Signal { signal, foreground, done } => done.send(control.signal(signal, foreground).await),
            Self::Resize { size, done } => done.send(control.resize(size).await),
        };
    }
}

impl Control {
    async fn wait(&mut self) -> Result<ExitStatus, Error> {
        match self {
            Self::Process(control) => control.wait().await,
            Self::Terminal(control) => control.wait().await,
        }
    }

    async fn signal(&self, signal: Signal, foreground: bool) -> Result<(), Error> {
        match self {
            Self::Process(control) => control.signal(signal).await,
            Self::Terminal(control) if foreground => control.signal_foreground(signal).await,
            Self::Terminal(control) => control.signal(signal).await,
        }
    }

    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        match self {
            Self::Process(_) => Ok(()),
            Self::Terminal(control) => control.resize(size).await,
        }
    }
}
