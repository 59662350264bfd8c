//! A conversation with an agent: messages go in, events come out, questions are asked in between.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use longshore_engine::{Closed, Engine, Subscription};
use longshore_protocol::{
    Content, ConversationId, Event, Role,
    confirmation::{ConfirmationResponse, NeverConfirm},
    conversation::SendMessage,
};
use longshore_store::Owner;

use super::{
    ask::{self, Verdict},
    input::{Input, is_terminal},
};
use crate::{
    failure::usage,
    progress::{Progress, Stop},
    render::{Line, Screen, Style, Usage},
    signals::{INTERRUPTED, Signals, TERMINATED, Wish},
};

/// How often the status line changes.
const TICK: Duration = Duration::from_millis(100);
/// Events that belong to what was seen last come in this time.
const TOGETHER: Duration = Duration::from_millis(50);

/// The exit code for an agent that is not done.
const NOT_DONE: u8 = 3;

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Failed,
    /// The agent went in circles, made too many calls, or waits for an answer that nobody can give.
    NotDone,
    Paused,
    Terminated,
}

impl End {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Finished => ExitCode::SUCCESS,
            Self::Failed => ExitCode::FAILURE,
            Self::NotDone => NOT_DONE.into(),
            Self::Paused => INTERRUPTED.into(),
            Self::Terminated => TERMINATED.into(),
        }
    }
}

/// A conversation and how far it is.
pub(crate) struct Session {
    engine: Engine,
    id: ConversationId,
    events: Subscription,
    progress: Progress,
    /// Whether the user asked for a pause.
    is_pausing: bool,
    /// Whether the user let everything pass before any question.
    accepts_all: bool,
}

/// The only user there is.
pub(crate) fn owner() -> Owner {
    Owner(Arc::from("local"))
}

impl Session {
    pub(crate) fn new(engine: Engine, id: ConversationId, events: Subscription, progress: Progress) -> Self {
        Self { engine, id, events, progress, is_pausing: false, accepts_all: false }
    }

    /// The same conversation, in which actions that wait already are accepted too.
    pub(crate) fn accepting_all(self) -> Self {
        Self { accepts_all: true, ..self }
    }

    /// What model calls came to.
    pub(crate) fn usage(&self) -> Usage {
        self.progress.usage()
    }

    /// Lets the agent work, on a new message or on what is left, until it stops.
    pub(crate) async fn turn(
        &mut self,
        message: Option<String>,
        signals: &mut Signals,
        input: &mut Input,
        screen: &mut Screen,
    ) -> Result<End> {
        match (message, self.progress.stop()) {
            (Some(text), _) => self.say(text).await?,
            (None, Some(Stop::Finished)) => {
                let Some(text) = ask::message_for_finished(signals, input, screen).await? else {
                    return Err(usage(
                        "the agent had finished: give it something more to do, as in longshore run \"TASK\" --resume",
                    ));
                };
                self.say(text).await?;
            }
            (None, Some(Stop::Waiting)) if !self.accepts_all => {
                if let Some(end) = self.settle_question(signals, input, screen).await? {
                    return Ok(end);
                }
            }
            (None, _) => self.engine.run(&owner(), self.id).await?,
        }
        self.watch(signals, input, screen).await
    }

    async fn say(&mut self, text: String) -> Result<()> {
        let message = SendMessage { role: Role::User, content: vec![Content::text(text)], run: true };
        self.engine.send(&owner(), self.id, message).await.context("the message cannot be sent")
    }

    /// Shows what happens until the agent stops.
    async fn watch(&mut self, signals: &mut Signals, input: &mut Input, screen: &mut Screen) -> Result<End> {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                json = self.events.next() => {
                    let Some(stop) = self.take(json, screen)? else { continue };
                    let stop = self.drain(screen).await?.unwrap_or(stop);
                    if stop == Stop::Waiting && !self.is_pausing {
                        if let Some(end) = self.settle_question(signals, input, screen).await? {
                            return Ok(end);
                        }
                        continue;
                    }
                    return self.end(stop, screen);
                }
                wish = signals.next() => match wish {
                    Wish::Pause => {
                        self.is_pausing = true;
                        screen.tell(&[Line::new(Style::Warning, "Pausing after this step. Ctrl-C again stops at once.")]);
                        self.engine.pause(&owner(), self.id).await?;
                    }
                    Wish::Interrupt => self.engine.interrupt(&owner(), self.id).await?,
                    Wish::Terminate => return Ok(End::Terminated),
                },
                _ = ticks.tick() => screen.tick(&self.progress),
            }
        }
    }

    /// Takes in an event. Gives why the agent stopped, if this event says so.
    fn take(&mut self, json: Result<Arc<str>, Closed>, screen: &mut Screen) -> Result<Option<Stop>> {
        let json = match json {
            Ok(json) => json,
            Err(Closed::Stopping) => bail!("the run was stopped"),
            Err(Closed::Deleted | Closed::Failed) => {
                bail!("the run's events cannot be stored: longshore.log in the run's folder says why")
            }
        };
        let event: Event = serde_json::from_str(&json).context("an event cannot be read")?;
        let before = self.progress.stop();
        self.progress.take(&event);
        screen.event(&event, &json)?;
        Ok(self.progress.stop().filter(|stop| before != Some(*stop)))
    }

    /// Takes in the events that came together with the last one.
    async fn drain(&mut self, screen: &mut Screen) -> Result<Option<Stop>> {
        let mut stop = None;
        while let Ok(json) = tokio::time::timeout(TOGETHER, self.events.next()).await {
            stop = self.take(json, screen)?.or(stop);
        }
        Ok(stop)
    }

    fn end(&mut self, stop: Stop, screen: &mut Screen) -> Result<End> {
        let (end, note) = match stop {
            Stop::Finished => {
                screen.answer(self.progress.answer().unwrap_or_default())?;
                (End::Finished, None)
            }
            Stop::Failed => (End::Failed, Some("The run failed.")),
            Stop::Limit => {
                (End::NotDone, Some("The agent made as many model calls as it may: --max-iterations sets how many."))
            }
            Stop::Stuck => {
                (End::NotDone, Some("The agent goes in circles and was stopped. A new message may help it out."))
            }
            Stop::Waiting => (End::Paused, Some("Paused. Actions wait for your answer.")),
            Stop::Paused => (End::Paused, Some("Paused.")),
        };
        if let Some(note) = note {
            screen.tell(&[Line::new(Style::Warning, note)]);
        }
        Ok(end)
    }

    /// Asks the user about the actions that wait and does as they say. Gives an end if they do not say anything.
    async fn settle_question(
        &mut self,
        signals: &mut Signals,
        input: &mut Input,
        screen: &mut Screen,
    ) -> Result<Option<End>> {
        if !is_terminal() {
            ask::show(self.progress.open(), screen);
            let text = "These actions wait for an answer, and standard input is not a terminal to ask on. Go on in a terminal \
                        with --resume, or with --resume --confirm never to let everything pass.";
            screen.tell(&[Line::new(Style::Warning, text)]);
            return Ok(Some(End::NotDone));
        }
        let owner = owner();
        match ask::confirm(self.progress.open(), signals, input, screen).await {
            Verdict::Yes => self.engine.run(&owner, self.id).await?,
            Verdict::Always => {
                self.engine.set_confirmation_policy(&owner, self.id, NeverConfirm {}.into()).await?;
                self.engine.run(&owner, self.id).await?;
            }
            Verdict::No(reason) => {
                self.engine.confirm(&owner, self.id, ConfirmationResponse { accept: false, reason }).await?;
                self.engine.run(&owner, self.id).await?;
            }
            Verdict::Nothing => {
                screen.tell(&[Line::blank(), Line::new(Style::Warning, "The actions still wait for an answer.")]);
                return Ok(Some(End::NotDone));
            }
            Verdict::Signal(Wish::Terminate) => return Ok(Some(End::Terminated)),
            Verdict::Signal(_) => return Ok(Some(End::Paused)),
        }
        Ok(None)
    }
}
