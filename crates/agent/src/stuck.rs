//! Notices when an agent goes in circles (contract: agent §1.10).

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use longshore_protocol::{Event, EventBody, Source};

/// Events that are looked at.
const WINDOW: usize = 20;
/// Equal actions with equal observations that mean the agent is stuck.
const REPEATS: usize = 4;
/// Equal actions with errors after which the agent is told.
const FAILURES: usize = 3;
/// Messages without an action between them that mean the agent is stuck.
const MONOLOGUE: usize = 3;
/// Actions and observations that alternate between two.
const ALTERNATIONS: usize = 6;

/// The latest events since the user spoke, reduced to what tells them apart.
#[derive(Debug, Clone, Default)]
pub struct StuckDetector {
    items: VecDeque<Item>,
    /// The error that the agent was last told about.
    told: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Action(u64),
    Observation(u64),
    Error { id: String, key: u64 },
    AgentMessage,
    Other,
}

/// What the latest events mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It gets on.
    Progress,
    /// It repeats a call that fails: tell it once.
    Nudge,
    /// It goes in circles.
    Stuck,
}

impl StuckDetector {
    /// Adds an event.
    pub fn push(&mut self, event: &Event) {
        let item = match &event.body {
            EventBody::ConversationStateUpdateEvent(_) => return,
            EventBody::MessageEvent(_) if event.source == Source::User => {
                self.items.clear();
                self.told = None;
                return;
            }
            EventBody::MessageEvent(_) if event.source == Source::Agent => Item::AgentMessage,
            EventBody::ActionEvent(action) => {
                let action_json = serde_json::to_string(&action.action).unwrap_or_default();
                let thought: Vec<_> = action.thought.iter().map(|thought| &thought.text).collect();
                let arguments = action.action.is_none().then_some(&action.tool_call.arguments);
                Item::Action(key((&action.tool_name, thought, action_json, arguments)))
            }
            EventBody::ObservationEvent(observation) => {
                let json = serde_json::to_string(&observation.observation).unwrap_or_default();
                Item::Observation(key((&observation.tool_name, json)))
            }
            EventBody::UserRejectObservation(rejection) => {
                Item::Observation(key((&rejection.tool_name, &rejection.rejection_reason)))
            }
            EventBody::AgentErrorEvent(error) => Item::Error { id: event.id.clone(), key: key(&error.error) },
            _ => Item::Other,
        };
        self.items.push_back(item);
        if self.items.len() > WINDOW {
            self.items.pop_front();
        }
    }

    /// Judges the latest events. A nudge is given once for each run of failures.
    pub fn verdict(&mut self) -> Verdict {
        let actions: Vec<_> = self.items.iter().rev().filter(|item| matches!(item, Item::Action(_))).collect();
        let results: Vec<_> =
            self.items.iter().rev().filter(|item| matches!(item, Item::Observation(_) | Item::Error { .. })).collect();

        let trailing_messages = self.items.iter().rev().take_while(|item| **item == Item::AgentMessage).count();
        let repeats = all_equal(&actions, REPEATS) && results.len() >= REPEATS && {
            let keys: Vec<_> = results.iter().take(REPEATS).map(|item| result_key(item)).collect();
            keys.windows(2).all(|pair| pair[0] == pair[1])
        };
        if trailing_messages >= MONOLOGUE || repeats || alternates(&actions, &results) {
            return Verdict::Stuck;
        }

        let failures = results.iter().take_while(|item| matches!(item, Item::Error { .. })).count();
        if failures > FAILURES && all_equal(&actions, FAILURES + 1) {
            return Verdict::Stuck;
        }
        if failures >= FAILURES
            && all_equal(&actions, FAILURES)
            && let Some(Item::Error { id, .. }) = results.first()
            && self.told.as_ref() != Some(id)
        {
            self.told = Some(id.clone());
            return Verdict::Nudge;
        }
        Verdict::Progress
    }
}

fn key(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn result_key(item: &Item) -> Option<(bool, u64)> {
    match item {
        Item::Observation(key) => Some((true, *key)),
        Item::Error { key, .. } => Some((false, *key)),
        Item::Action(_) | Item::AgentMessage | Item::Other => None,
    }
}

fn all_equal(items: &[&Item], count: usize) -> bool {
    items.len() >= count && items[..count].windows(2).all(|pair| pair[0] == pair[1])
}

fn alternates(actions: &[&Item], results: &[&Item]) -> bool {
    if actions.len() < ALTERNATIONS || results.len() < ALTERNATIONS {
        return false;
    }
    let keys: Vec<_> = results[..ALTERNATIONS].iter().map(|item| result_key(item)).collect();
    (2..ALTERNATIONS).all(|i| actions[i] == actions[i - 2] && keys[i] == keys[i - 2])
}
