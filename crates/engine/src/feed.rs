//! What readers of a conversation see, in order.
//!
//! A [`Feed`] keeps the latest frames of a conversation. Each reader has a position of its own, so a slow one costs nobody
//! else anything: when the frames it has not read are gone, it is told so and reads the events from the store.

use std::{collections::VecDeque, sync::Arc};

use longshore_store::Seq;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Frames that are kept.
const MAX_FRAMES: usize = 1024;
/// Bytes of frames that are kept, if there is more than one.
const MAX_BYTES: usize = 4 << 20;

/// The latest frames of a conversation.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    /// Wakes readers; the value is the position after the last frame.
    end: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The position of the first frame that is kept.
    start: u64,
    /// The first event that is not before the first frame that is kept.
    start_seq: Seq,
    /// The position in the log after the last event.
    tail: Seq,
    closed: Option<Closed>,
}

/// Something for readers.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    /// An event of the log.
    Durable(Seq, Arc<str>),
    /// An event that is not stored.
    Transient(Arc<str>),
}

/// Why nothing more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The conversation was deleted.
    Deleted,
    /// The server is stopping.
    Stopping,
    /// The server lost the conversation's state and will load it again.
    Failed,
}

/// What a reader finds at its position.
#[derive(Debug)]
pub(crate) enum Read {
    /// Frames, and the position after them.
    Frames(Vec<Frame>, u64),
    /// Frames are gone: go on at `index` after reading the events before `seq` from the store.
    Behind { index: u64, seq: Seq },
    /// Nothing yet.
    Empty,
    /// Nothing more.
    Closed(Closed),
}

impl Feed {
    /// A feed for a log that ends at `tail`.
    pub(crate) fn new(tail: Seq) -> Self {
        let ring = Ring { frames: VecDeque::new(), bytes: 0, start: 0, start_seq: tail, tail, closed: None };
        Self { ring: Mutex::new(ring), end: watch::Sender::new(0) }
    }

    /// Adds a frame behind all others.
    pub(crate) fn push(&self, frame: Frame) {
        self.push_with([frame], || ());
    }

    /// Adds frames behind all others. No reader finds a position between `change` and the frames.
    pub(crate) fn push_with(&self, frames: impl IntoIterator<Item = Frame>, change: impl FnOnce()) {
        let mut ring = self.ring.lock();
        change();
        for frame in frames {
            ring.push(frame);
        }
        self.end.send_replace(ring.end());
    }

    /// Tells readers that nothing more will come.
    pub(crate) fn close(&self, reason: Closed) {
        self.ring.lock().closed.get_or_insert(reason);
        self.end.send_modify(|_| ());
    }

    /// Where a new reader begins: the position after the last frame, the end of the log at that position, and what `look`
    /// finds while nobody adds anything.
    pub(crate) fn end_with<T>(&self, look: impl FnOnce() -> T) -> (u64, Seq, T) {
        let ring = self.ring.lock();
        (ring.end(), ring.tail, look())
    }

    /// Whether the conversation is gone, so that its id may be somebody else's by now.
    pub(crate) fn is_deleted(&self) -> bool {
        self.ring.lock().closed == Some(Closed::Deleted)
    }

    /// Wakes when frames were added.
    pub(crate) fn wake(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Frames from a position on: at most `limit`.
    pub(crate) fn read(&self, index: u64, limit: usize) -> Read {
        let ring = self.ring.lock();
        if index < ring.start {
            return Read::Behind { index: ring.start, seq: ring.start_seq };
        }
        let skip = usize::try_from(index - ring.start).unwrap_or(usize::MAX);
        let frames: Vec<_> = ring.frames.iter().skip(skip).take(limit).cloned().collect();
        match ring.closed {
            _ if !frames.is_empty() => {
                let end = index + frames.len() as u64;
                Read::Frames(frames, end)
            }
            Some(reason) => Read::Closed(reason),
            None => Read::Empty,
        }
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.start + self.frames.len() as u64
    }

    fn push(&mut self, frame: Frame) {
        if let Frame::Durable(seq, _) = &frame {
            self.tail = seq + 1;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.frames.len() > MAX_FRAMES || (self.bytes > MAX_BYTES && self.frames.len() > 1) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
            self.start += 1;
            if let Frame::Durable(seq, _) = oldest {
                self.start_seq = seq + 1;
            }
        }
    }
}

impl Frame {
    fn len(&self) -> usize {
        match self {
            Self::Durable(_, json) | Self::Transient(json) => json.len(),
        }
    }
}
