//! Which runs may work, and the fair queue of those that wait.
//!
//! So many runs work at the same time, and so many of them of one owner. The others wait: those of one owner in the order
//! in which they came, and the owners take turns, so that whoever asks for a hundred runs delays nobody else by more than
//! one. No run waits for another run while it holds a [`Ticket`], so the queue always moves.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use longshore_store::Owner;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// How often a run that waits looks whether its position is another.
const LOOK: Duration = Duration::from_secs(1);

/// How many runs may wait, and how many of one owner may work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLimits {
    /// Runs of one owner that may work at the same time; none if only the number of all runs is limited.
    pub runs_per_owner: Option<usize>,
    /// Runs of all owners that may wait. One more is refused.
    pub waiting: usize,
    /// Runs of one owner that may wait. One more is refused.
    pub waiting_per_owner: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { runs_per_owner: None, waiting: 1024, waiting_per_owner: 256 }
    }
}

/// How many runs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Those that work.
    pub working: usize,
    /// How many may work at the same time.
    pub most: usize,
    /// Those that wait for their turn.
    pub waiting: usize,
}

/// Runs that work and runs that wait.
#[derive(Debug, Clone)]
pub(crate) struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runs: usize,
    limits: QueueLimits,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Runs that work.
    working: usize,
    /// Runs that wait.
    waiting: usize,
    /// Owners with a run.
    shares: HashMap<Owner, Share>,
    /// Owners of runs that wait, the next one first.
    turns: VecDeque<Owner>,
    next_id: u64,
}

/// The runs of one owner.
#[derive(Debug, Default)]
struct Share {
    working: usize,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// The place of a run: in the queue, and then among those that work. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Queue,
    owner: Owner,
    id: u64,
    /// Ready when the run may work; none once that is known.
    turn: Option<oneshot::Receiver<()>>,
    look_at: Instant,
    told: Option<usize>,
}

/// What a run that waits hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the so-many-th to work, counted from 1.
    Waits(usize),
    /// It may work.
    Works,
}

/// Neither may one more run work nor may it wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Queue {
    /// A queue for `runs` runs that work at the same time.
    pub(crate) fn new(runs: usize, limits: QueueLimits) -> Self {
        Self(Arc::new(Inner { runs, limits, line: Mutex::default() }))
    }

    /// A place for one more run: at work if there is room, else in the queue.
    pub(crate) fn enter(&self, owner: &Owner) -> Result<Ticket, Full> {
        let mut line = self.0.line.lock();
        if !self.has_room_in(&line, owner) {
            return Err(Full);
        }
        let (sender, receiver) = oneshot::channel();
        let id = line.next_id;
        line.next_id += 1;
        line.waiting += 1;
        let share = line.shares.entry(owner.clone()).or_default();
        let is_first = share.waiting.is_empty();
        share.waiting.push_back((id, sender));
        if is_first {
            line.turns.push_back(owner.clone());
        }
        self.admit(&mut line);
        drop(line);
        let mut ticket = Ticket {
            queue: self.clone(),
            owner: owner.clone(),
            id,
            turn: Some(receiver),
            look_at: Instant::now(),
            told: None,
        };
        ticket.notice_turn();
        Ok(ticket)
    }

    /// Whether one more run of this owner would find a place.
    pub(crate) fn has_room(&self, owner: &Owner) -> bool {
        self.has_room_in(&self.0.line.lock(), owner)
    }

    /// How many runs work and wait.
    pub(crate) fn count(&self) -> Runs {
        let line = self.0.line.lock();
        Runs { working: line.working, most: self.0.runs, waiting: line.waiting }
    }

    /// Whether no run works or waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.line.lock().shares.is_empty()
    }

    fn has_room_in(&self, line: &Line, owner: &Owner) -> bool {
        let QueueLimits { waiting, waiting_per_owner, .. } = self.0.limits;
        let (own_working, own_waiting) =
            line.shares.get(owner).map_or((0, 0), |share| (share.working, share.waiting.len()));
        let may_work = line.working < self.0.runs && own_working < self.runs_per_owner() && own_waiting == 0;
        may_work || (line.waiting < waiting && own_waiting < waiting_per_owner)
    }

    fn runs_per_owner(&self) -> usize {
        self.0.limits.runs_per_owner.unwrap_or(usize::MAX)
    }

    /// Lets those work who may. An owner who has as many as may work keeps the place among the turns.
    fn admit(&self, line: &mut Line) {
        while line.working < self.0.runs {
            let may_work = |owner: &Owner| line.shares[owner].working < self.runs_per_owner();
            let Some(owner) = line.turns.iter().position(may_work).and_then(|place| line.turns.remove(place)) else {
                return;
            };
            let Some(share) = line.shares.get_mut(&owner) else { return };
            if let Some((_, sender)) = share.waiting.pop_front() {
                // Whoever does not listen any more gives the place back.
                let _ = sender.send(());
                share.working += 1;
                line.working += 1;
                line.waiting -= 1;
            }
            if !share.waiting.is_empty() {
                line.turns.push_back(owner);
            }
        }
    }

    fn leave(&self, owner: &Owner, id: u64) {
        let mut line = self.0.line.lock();
        let line = &mut *line;
        let Some(share) = line.shares.get_mut(owner) else { return };
        if let Some(place) = share.waiting.iter().position(|(waiting, _)| *waiting == id) {
            share.waiting.remove(place);
            line.waiting -= 1;
            if share.waiting.is_empty() {
                line.turns.retain(|other| other != owner);
            }
        } else {
            share.working -= 1;
            line.working -= 1;
        }
        if share.working == 0 && share.waiting.is_empty() {
            line.shares.remove(owner);
        }
        self.admit(line);
    }

    /// How many runs work before this one may, and this one.
    fn position(&self, owner: &Owner, id: u64) -> Option<usize> {
        let line = self.0.line.lock();
        let round = line.shares.get(owner)?.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let turn = line.turns.iter().position(|other| other == owner)?;
        let before = line.turns.iter().enumerate().map(|(place, other)| {
            // Whose turn is earlier has one more go in the same round.
            line.shares[other].waiting.len().min(if place < turn { round + 1 } else { round })
        });
        Some(before.sum::<usize>() + 1)
    }
}

impl Ticket {
    /// Whether the run does not work yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.turn.is_some()
    }

    /// Ready when the run that waits may work, or stands elsewhere than it was told. Nothing is lost if the call is
    /// cancelled. For a run that works it is never ready.
    pub(crate) async fn standing(&mut self) -> Standing {
        loop {
            let Some(turn) = &mut self.turn else { return std::future::pending().await };
            tokio::select! {
                biased;
                _ = turn => {
                    self.turn = None;
                    return Standing::Works;
                }
                () = sleep_until(self.look_at) => {}
            }
            self.look_at = Instant::now() + LOOK;
            let position = self.queue.position(&self.owner, self.id);
            if let Some(position) = position
                && self.told.replace(position) != Some(position)
            {
                return Standing::Waits(position);
            }
        }
    }

    fn notice_turn(&mut self) {
        if self.turn.as_mut().is_some_and(|turn| turn.try_recv().is_ok()) {
            self.turn = None;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.leave(&self.owner, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner(name.into())
    }

    fn queue(runs: usize, runs_per_owner: Option<usize>) -> Queue {
        Queue::new(runs, QueueLimits { runs_per_owner, waiting: 100, waiting_per_owner: 50 })
    }

    fn works(ticket: &mut Ticket) -> bool {
        ticket.notice_turn();
        !ticket.is_waiting()
    }

    #[test]
    fn owners_take_turns_whatever_one_of_them_asks_for() {
        let queue = queue(1, None);
        let first = queue.enter(&owner("hog")).unwrap();
        let mut hog: Vec<_> = (0..50).map(|_| queue.enter(&owner("hog")).unwrap()).collect();
        assert!(queue.enter(&owner("hog")).is_err(), "one owner does not fill the queue");
        let mut ann: Vec<_> = (0..2).map(|_| queue.enter(&owner("ann")).unwrap()).collect();
        let mut bob = queue.enter(&owner("bob")).unwrap();
        let positions = [&hog[0], &ann[0], &bob, &hog[1], &ann[1], &hog[2], &hog[49]]
            .map(|ticket| queue.position(&ticket.owner, ticket.id));
        assert_eq!(positions, [1, 2, 3, 4, 5, 6, 53].map(Some));

        drop(first);
        assert!(works(&mut hog[0]) && !works(&mut ann[0]));
        drop(hog.remove(0));
        assert!(works(&mut ann[0]) && !works(&mut bob));
        drop(ann.remove(0));
        assert!(works(&mut bob) && !works(&mut hog[0]) && !works(&mut ann[0]));
    }

    #[test]
    fn an_owner_with_as_many_runs_as_may_work_delays_nobody() {
        let queue = queue(3, Some(2));
        let mut hog: Vec<_> = (0..4).map(|_| queue.enter(&owner("hog")).unwrap()).collect();
        assert_eq!(hog.iter_mut().map(works).collect::<Vec<_>>(), [true, true, false, false]);
        let mut ann = queue.enter(&owner("ann")).unwrap();
        assert!(works(&mut ann));
        let mut bob = queue.enter(&owner("bob")).unwrap();
        drop(ann);
        assert!(works(&mut bob) && !works(&mut hog[2]));
        drop(hog.remove(1));
        assert!(works(&mut hog[1]));
    }

    #[test]
    fn who_leaves_the_queue_leaves_nothing_behind() {
        let queue = queue(1, None);
        let first = queue.enter(&owner("ann")).unwrap();
        let (left, mut stays) = (queue.enter(&owner("bob")).unwrap(), queue.enter(&owner("eve")).unwrap());
        drop(left);
        assert_eq!(queue.position(&stays.owner, stays.id), Some(1));
        drop(first);
        assert!(works(&mut stays));
        drop(stays);
        assert!(queue.is_empty());
    }

    /// Runs come, wait, give up at any moment, work and end; in the end each got its turn or gave up, and nothing is left.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_turn_is_lost_whenever_somebody_gives_up() {
        let queue = queue(2, Some(1));
        let tasks: Vec<_> = (0..4u64)
            .map(|task| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut dice = task + 1;
                    for _ in 0..2000 {
                        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let mut ticket = queue.enter(&owner(&format!("user {}", (dice >> 40) % 3))).unwrap();
                        let turns = (dice >> 33) % 4;
                        let patience = async {
                            for _ in 0..turns {
                                tokio::task::yield_now().await;
                            }
                        };
                        let work = async {
                            while ticket.is_waiting() {
                                ticket.standing().await;
                            }
                        };
                        if turns == 0 {
                            work.await;
                        } else {
                            tokio::select! {
                                () = patience => {}
                                () = work => {}
                            }
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_mins(1), task).await.expect("somebody waits for ever").unwrap();
        }
        let line = queue.0.line.lock();
        assert_eq!((line.working, line.waiting, line.turns.len(), line.shares.len()), (0, 0, 0, 0));
    }
}
