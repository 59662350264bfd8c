//! Ctrl-C and the signals that end programs.

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// The exit code of a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;
/// The exit code of a program that SIGTERM ended.
pub(crate) const TERMINATED: u8 = 143;

/// What a signal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Stop at the next step.
    Pause,
    /// Stop at once.
    Interrupt,
    /// End.
    Terminate,
}

/// Signals, one after the other.
#[derive(Debug)]
pub(crate) struct Signals {
    wishes: mpsc::Receiver<Wish>,
}

impl Signals {
    /// From now on signals do not end the program by themselves, except the third Ctrl-C and a second SIGTERM: these end it
    /// even if it hangs.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let (sender, wishes) = mpsc::channel(8);
        tokio::spawn(async move {
            let (mut interrupts, mut terminations) = (0, 0);
            loop {
                let wish = tokio::select! {
                    _ = interrupt.recv() => {
                        interrupts += 1;
                        match interrupts {
                            1 => Wish::Pause,
                            2 => Wish::Interrupt,
                            _ => exit(INTERRUPTED),
                        }
                    }
                    _ = terminate.recv() => Wish::Terminate,
                    _ = hang_up.recv() => Wish::Terminate,
                };
                if wish == Wish::Terminate {
                    terminations += 1;
                    if terminations > 1 {
                        exit(TERMINATED);
                    }
                }
                if sender.send(wish).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { wishes })
    }

    /// The next wish. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }
}

#[expect(clippy::exit, reason = "whatever the rest of the program waits for, the user no longer does")]
fn exit(code: u8) -> ! {
    std::process::exit(code.into())
}
