//! A process's output on its way to a server that may go and come back.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use parking_lot::Mutex;
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::client::Presence;
use crate::{
    Reader,
    wire::{
        Content, Ending, Failure,
        progress::{AHEAD, Progress},
    },
};

/// How much is read or sent at once, and how far reading is ahead of sending.
const CHUNK: usize = 64 << 10;

/// How much is kept for a server that is gone. What was sent and not read is part of it, since the connection may have
/// swallowed it.
const KEPT: usize = 1 << 20;

/// One of a process's outputs.
pub(super) struct Outlet {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What came from the process and was not read by the server, as far as is known.
    kept: VecDeque<u8>,
    /// How much came before.
    before: u64,
    /// How it ended, if it has.
    end: Option<Result<(), Failure>>,
    /// How much was sent to the latest reader.
    sent: u64,
    /// Where the parts end that were sent to it and that it has not read.
    under_way: VecDeque<u64>,
    /// The number of the latest reader.
    reader: u64,
    /// Whether the latest reader is there.
    attached: bool,
    /// Nobody wants any more of it.
    closed: bool,
}

impl Outlet {
    /// Reads from `reader` until its end, or until it is closed, or until `over` and nobody reads.
    pub(super) fn open(
        reader: Reader,
        presence: watch::Receiver<Presence>,
        hold: Duration,
        over: CancellationToken,
    ) -> Arc<Self> {
        let outlet = Arc::new(Self { state: Mutex::default(), changed: Notify::new() });
        tokio::spawn(outlet.clone().pump(reader, presence, hold, over));
        outlet
    }

    /// What comes after the first `offset` bytes, for a reader whose `progress` comes. Whoever read before does not any more.
    pub(super) fn read(self: &Arc<Self>, offset: u64, progress: Progress) -> Result<Content, Failure> {
        let mut state = self.state.lock();
        if offset > state.taken() {
            return Err(Failure::refused("read a process's output", "there is not so much of it"));
        }
        state.sent = offset;
        state.under_way.clear();
        state.forget(offset);
        state.reader += 1;
        state.attached = true;
        let reader = Attached { outlet: self.clone(), number: state.reader, progress };
        drop(state);
        self.changed.notify_waiters();
        Ok(Box::pin(stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader)))))
    }

    /// Closes the pipe, as the end of its only reader does.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    async fn pump(
        self: Arc<Self>,
        mut reader: Reader,
        mut presence: watch::Receiver<Presence>,
        hold: Duration,
        over: CancellationToken,
    ) {
        let mut buffer = vec![0; CHUNK];
        let end = loop {
            let read = async {
                self.room(&mut presence, hold).await;
                reader.read(&mut buffer).await
            };
            let read = tokio::select! {
                read = read => read,
                () = self.unwanted(&over) => return,
            };
            match read {
                Ok(0) => break Ok(()),
                Ok(count) => self.keep(&buffer[..count]),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => break Err(Failure::io("read a process's output", &cause)),
            }
        };
        self.state.lock().end = Some(end);
        self.changed.notify_waiters();
    }

    /// Waits until there is room for more.
    ///
    /// A server that is connected reads at its own pace, and the process waits for it. One that is not gets all that there
    /// is room for, and after a while the process goes on without it.
    async fn room(&self, presence: &mut watch::Receiver<Presence>, hold: Duration) {
        loop {
            let changed = self.changed.notified();
            let here = *presence.borrow_and_update();
            let (is_room, until) = {
                let state = self.state.lock();
                match here {
                    Presence::Here => (state.taken().saturating_sub(state.sent) < CHUNK as u64, None),
                    Presence::GoneSince(since) => {
                        let until = since + hold;
                        (state.kept.len() + CHUNK <= KEPT || Instant::now() >= until, Some(until))
                    }
                }
            };
            if is_room {
                return;
            }
            tokio::select! {
                () = changed => {}
                // Without a sender the server is forgotten, and this with it.
                _ = presence.changed() => {}
                () = at(until) => {}
            }
        }
    }

    /// Waits until nobody wants any more of it.
    async fn unwanted(&self, over: &CancellationToken) {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state.lock();
                if state.closed || (over.is_cancelled() && !state.attached) {
                    return;
                }
            }
            tokio::select! {
                () = changed => {}
                () = over.cancelled(), if !over.is_cancelled() => {}
            }
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        let kept = &mut state.kept;
        let wanted = kept.len() + bytes.len();
        if wanted > kept.capacity() {
            let capacity = wanted.max(2 * kept.capacity()).min(KEPT + CHUNK);
            let additional = capacity - kept.len();
            kept.reserve_exact(additional);
        }
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
        state.before += excess as u64;
        drop(state);
        self.changed.notify_waiters();
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl State {
    /// How much came from the process in all.
    fn taken(&self) -> u64 {
        self.before + self.kept.len() as u64
    }

    /// The server has read everything before `offset`.
    fn forget(&mut self, offset: u64) {
        let read = usize::try_from(offset.saturating_sub(self.before)).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.drain(..read);
        self.before += read as u64;
        while self.under_way.front().is_some_and(|end| *end <= offset) {
            self.under_way.pop_front();
        }
    }

    /// The next part for a reader; nothing if it must wait.
    fn next(&mut self) -> Option<Bytes> {
        if self.under_way.len() >= AHEAD.1 || self.sent.saturating_sub(self.before) >= AHEAD.0 {
            return None;
        }
        let from = usize::try_from(self.sent.checked_sub(self.before)?).ok()?;
        let count = self.kept.len().saturating_sub(from).min(CHUNK);
        if count == 0 {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(count);
        let (first, second) = self.kept.as_slices();
        let head = &first[from.min(first.len())..];
        bytes.put_slice(&head[..count.min(head.len())]);
        let start = from.saturating_sub(first.len());
        let rest = count - bytes.len();
        bytes.put_slice(&second[start..start + rest]);
        self.sent += count as u64;
        self.under_way.push_back(self.sent);
        Some(bytes.freeze())
    }
}

/// The latest reader of an output.
struct Attached {
    outlet: Arc<Outlet>,
    number: u64,
    progress: Progress,
}

impl Attached {
    async fn next(&mut self) -> Option<Result<Bytes, Ending>> {
        loop {
            let changed = self.outlet.changed.notified();
            {
                let mut state = self.outlet.state.lock();
                if state.reader != self.number {
                    return Some(Err(Ending::Cut(io::Error::other("another reader took over"))));
                }
                if state.sent < state.before {
                    return Some(Err(Ending::Failed(Failure::Lost { kept: state.before })));
                }
                if let Some(bytes) = state.next() {
                    drop(state);
                    self.outlet.changed.notify_waiters();
                    return Some(Ok(bytes));
                }
                match &state.end {
                    Some(_) if state.sent < state.taken() => {}
                    Some(Ok(())) => return None,
                    Some(Err(failure)) => return Some(Err(Ending::Failed(failure.clone()))),
                    None => {}
                }
            }
            tokio::select! {
                () = changed => {}
                read = self.progress.next() => self.outlet.state.lock().forget(read),
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut state = self.outlet.state.lock();
        if state.reader == self.number {
            state.attached = false;
            drop(state);
            self.outlet.changed.notify_waiters();
        }
    }
}
