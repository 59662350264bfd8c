//! A reader of a conversation.

use std::{collections::VecDeque, sync::Arc};

use longshore_protocol::EventTime;
use longshore_store::{EventFilter, EventQuery, Seq, Store};
use tokio::sync::watch;

use crate::{
    Error,
    feed::{Closed, Frame, Read},
    live::Live,
};

/// Events that are read from the store at a time.
const PAGE: usize = 100;
/// Frames that are taken from the feed at a time.
const BATCH: usize = 64;

/// Which events of the past a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// None.
    Nothing,
    /// All.
    All,
    /// Those from this time on.
    Since(EventTime),
    /// Those after this position of the log.
    After(Seq),
}

/// Something that a reader is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its position in the log; none if it is not stored.
    pub seq: Option<Seq>,
    /// The JSON text of an event.
    pub json: Arc<str>,
}

/// A reader of a conversation: first its whole state, then the events that it asked for, then what happens.
///
/// Every event comes once and in the order of the log, however slowly the reader reads. While there is a reader the
/// conversation stays in memory.
#[derive(Debug)]
pub struct Subscription {
    live: Arc<Live>,
    store: Arc<dyn Store>,
    wake: watch::Receiver<u64>,
    queue: VecDeque<Told>,
    /// The position in the feed.
    index: u64,
    /// The next event to give out.
    next_seq: Seq,
    /// Events before this one come from the store.
    stored_until: Seq,
    /// Frames were lost, so the whole state is to be given out when the events are.
    owes_state: bool,
    _reader: Arc<()>,
}

impl Subscription {
    /// `reader` is a clone of `live.readers`, made while the conversation was in memory.
    pub(crate) async fn new(
        live: Arc<Live>,
        reader: Arc<()>,
        store: Arc<dyn Store>,
        replay: Replay,
    ) -> Result<Self, Error> {
        let wake = live.feed.wake();
        let (index, tail, snapshot) = live.cut();
        let next_seq = match replay {
            Replay::Nothing => tail,
            Replay::All => 0,
            Replay::After(seq) => seq.saturating_add(1).min(tail),
            Replay::Since(time) => first_since(&*store, &live, time).await?.unwrap_or(tail).min(tail),
        };
        let queue = VecDeque::from([Told { seq: None, json: live.full_state(&snapshot) }]);
        Ok(Self { live, store, wake, queue, index, next_seq, stored_until: tail, owes_state: false, _reader: reader })
    }

    /// The JSON text of the next event; `Err` when no more will come. May be dropped and called again without loss.
    ///
    /// # Errors
    /// Why no more will come.
    pub async fn next(&mut self) -> Result<Arc<str>, Closed> {
        self.next_told().await.map(|told| told.json)
    }

    /// As [`Subscription::next`], with the event's position in the log.
    ///
    /// # Errors
    /// Why no more will come.
    pub async fn next_told(&mut self) -> Result<Told, Closed> {
        loop {
            if let Some(frame) = self.queue.pop_front() {
                return Ok(frame);
            }
            if self.next_seq < self.stored_until {
                self.read_stored().await?;
                continue;
            }
            // Not before all that led to the state was given out: clients take a state at rest for the end of the run.
            if self.owes_state
                && let Some(snapshot) = self.live.snapshot_at(self.index)
            {
                self.owes_state = false;
                return Ok(Told { seq: None, json: self.live.full_state(&snapshot) });
            }
            self.wake.mark_unchanged();
            match self.live.feed.read(self.index, BATCH) {
                Read::Frames(frames, index) => {
                    self.index = index;
                    for frame in frames {
                        self.take(frame);
                    }
                }
                Read::Behind { index, seq } => {
                    self.index = index;
                    self.stored_until = seq;
                    self.owes_state = true;
                }
                Read::Empty => {
                    if self.wake.changed().await.is_err() {
                        return Err(Closed::Failed);
                    }
                }
                Read::Closed(reason) => return Err(reason),
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Durable(seq, json) if seq >= self.next_seq => {
                self.next_seq = seq + 1;
                self.queue.push_back(Told { seq: Some(seq), json });
            }
            Frame::Durable(..) => {}
            Frame::Transient(json) => self.queue.push_back(Told { seq: None, json }),
        }
    }

    async fn read_stored(&mut self) -> Result<(), Closed> {
        let left = usize::try_from(self.stored_until - self.next_seq).unwrap_or(PAGE);
        let events = self.store.events(self.live.id, self.next_seq, left.min(PAGE)).await.map_err(|error| {
            let error: &dyn std::error::Error = &error;
            tracing::error!(conversation.id = %self.live.id, error, "events could not be read");
            Closed::Failed
        })?;
        if self.live.feed.is_deleted() {
            return Err(Closed::Deleted);
        }
        let Some(last) = events.last() else { return Err(Closed::Deleted) };
        self.next_seq = last.seq + 1;
        self.queue.extend(events.into_iter().map(|event| Told { seq: Some(event.seq), json: event.json }));
        Ok(())
    }
}

async fn first_since(store: &dyn Store, live: &Live, time: EventTime) -> Result<Option<Seq>, Error> {
    let filter = EventFilter { since: Some(time.to_string()), ..EventFilter::default() };
    let page = store.find_events(live.id, EventQuery { filter, limit: 1, ..EventQuery::default() }).await?;
    Ok(page.items.first().map(|event| event.seq))
}
