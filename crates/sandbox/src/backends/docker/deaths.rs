//! Boxes that end without being asked to.
//!
//! What the engine tells is only taken as a hint to look at a container. So it does no harm if something is told twice, late,
//! or (because the engine was away) not at all: after each connection all boxes are looked at.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    pin::Pin,
    time::Duration,
};

use bollard::{errors::Error as Refusal, models::EventMessage, query_parameters::EventsOptionsBuilder};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Docker,
    layout::{BOX_LABEL, DEPLOYMENT_LABEL},
    state::REMOVED,
};
use crate::{Backend as _, Death, Error, Running, SandboxId};

/// How long to wait before an engine that was away is asked again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the rules for boxes are looked at, which somebody else may have taken away.
const ROUND: Duration = Duration::from_mins(1);
/// How far back to ask for what happened, because clocks differ.
const OVERLAP: Duration = Duration::from_mins(1);

/// What is expected of boxes, and what the engine tells.
#[derive(Debug, Default)]
pub(super) struct Watch {
    expected: Mutex<HashMap<SandboxId, Expected>>,
    hints: tokio::sync::Mutex<Hints>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Life,
    End,
}

type Events = Pin<Box<dyn futures::Stream<Item = Result<EventMessage, Refusal>> + Send>>;

#[derive(Default)]
struct Hints {
    /// What the engine tells, while there is a connection.
    events: Option<Events>,
    /// When the rules for boxes are looked at again.
    round: Option<Instant>,
    /// Whether there ever was one.
    connected: bool,
    /// Boxes to look at.
    suspects: VecDeque<SandboxId>,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").field("suspects", &self.suspects).finish_non_exhaustive()
    }
}

impl Watch {
    /// From now on the box should run.
    pub(super) fn expect_life(&self, id: SandboxId) {
        self.expected.lock().insert(id, Expected::Life);
    }

    /// From now on it is no surprise if the box ends.
    pub(super) fn expect_end(&self, id: SandboxId) {
        self.expected.lock().insert(id, Expected::End);
    }

    /// The box has ended as expected.
    pub(super) fn forget(&self, id: SandboxId) {
        self.expected.lock().remove(&id);
    }

    fn expects_life(&self, id: SandboxId) -> bool {
        self.expected.lock().get(&id) == Some(&Expected::Life)
    }

    /// Waits for a box that ended without being asked to. May be broken off at any point; nothing is lost.
    pub(super) async fn next(&self, docker: &Docker) -> Death {
        let mut hints = self.hints.lock().await;
        loop {
            if let Some(id) = hints.suspects.front().copied() {
                match self.examine(docker, id).await {
                    Ok(death) => {
                        hints.suspects.pop_front();
                        if let Some(death) = death {
                            return death;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot look at a box that may have ended; trying again");
                        tokio::time::sleep(PATIENCE).await;
                    }
                }
                continue;
            }
            let Hints { events: Some(events), round: Some(round), .. } = &mut *hints else {
                if let Err(error) = self.connect(docker, &mut hints).await {
                    tracing::debug!(%error, "the engine tells nothing about boxes; trying again");
                    tokio::time::sleep(PATIENCE).await;
                }
                continue;
            };
            // A point in time that outlives this call: boxes that end all the time must not put the round off.
            let event = tokio::select! {
                biased;
                () = tokio::time::sleep_until(*round) => {
                    docker.network.keep(docker).await;
                    *round = Instant::now() + ROUND;
                    continue;
                }
                event = events.next() => event,
            };
            if let Some(Ok(event)) = event {
                hints.suspects.extend(box_of(&event));
            } else {
                hints.events = None;
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }

    /// Asks the engine to tell, and looks at all boxes.
    async fn connect(&self, docker: &Docker, hints: &mut Hints) -> Result<(), Error> {
        let now = jiff::Timestamp::now().as_second();
        let since = now.saturating_sub_unsigned(OVERLAP.as_secs()).to_string();
        let label = format!("{DEPLOYMENT_LABEL}={}", docker.deployment.name);
        let filters =
            HashMap::from([("type", vec!["container"]), ("event", vec!["die"]), ("label", vec![label.as_str()])]);
        let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
        let events = docker.engine.client().await?.events(Some(options)).boxed();

        docker.network.keep(docker).await;
        hints.round = Some(Instant::now() + ROUND);
        let found = docker.list().await?;
        let running: HashSet<_> =
            found.iter().filter(|found| found.running != Running::No).map(|found| found.id).collect();
        let mut expected = self.expected.lock();
        if !hints.connected {
            // Boxes from before this server.
            for id in &running {
                expected.entry(*id).or_insert(Expected::Life);
            }
        }
        let lost = expected.iter().filter(|(id, state)| **state == Expected::Life && !running.contains(*id));
        hints.suspects.extend(lost.map(|(id, _)| *id));
        hints.connected = true;
        hints.events = Some(events);
        Ok(())
    }

    async fn examine(&self, docker: &Docker, id: SandboxId) -> Result<Option<Death>, Error> {
        if !self.expects_life(id) {
            return Ok(None);
        }
        let reason = match docker.state(id).await? {
            Some(state) if state.running != Running::No => return Ok(None),
            Some(state) => state.reason(),
            None => REMOVED.to_owned(),
        };
        // Somebody may have asked for the end meanwhile.
        let was_alive = self.expects_life(id);
        self.forget(id);
        Ok(was_alive.then_some(Death { id, reason }))
    }
}

fn box_of(event: &EventMessage) -> Option<SandboxId> {
    event.actor.as_ref()?.attributes.as_ref()?.get(BOX_LABEL)?.parse().ok()
}
