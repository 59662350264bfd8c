//! A process's input, counted, so that a server which does not know what arrived can say it again.

use tokio::{io::AsyncWriteExt as _, sync::Mutex};

use crate::{Writer, wire::Failure};

/// A process's input.
pub(super) struct Input {
    pipe: Mutex<Pipe>,
}

struct Pipe {
    /// Nothing once it is closed.
    writer: Option<Writer>,
    /// How much the process's pipe or terminal took.
    taken: u64,
}

impl Input {
    pub(super) fn new(writer: Option<Writer>) -> Self {
        Self { pipe: Mutex::new(Pipe { writer, taken: 0 }) }
    }

    /// Gives the process the part of `bytes`, which begin at `offset` of all input, that it has not had. May be dropped at
    /// any point and called again.
    pub(super) async fn give(&self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        const WHAT: &str = "write to a process";
        let mut pipe = self.pipe.lock().await;
        let pipe = &mut *pipe;
        let known =
            pipe.taken.checked_sub(offset).ok_or_else(|| Failure::refused(WHAT, "what comes before is missing"))?;
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len());
        let mut left = &bytes[known..];
        while !left.is_empty() {
            let closed = || Failure::io(WHAT, &std::io::ErrorKind::BrokenPipe.into());
            let writer = pipe.writer.as_mut().ok_or_else(closed)?;
            let count = writer.write(left).await.map_err(|cause| Failure::io(WHAT, &cause))?;
            if count == 0 {
                return Err(closed());
            }
            pipe.taken += count as u64;
            left = &left[count..];
        }
        Ok(())
    }

    /// Closes the input.
    pub(super) async fn close(&self) {
        self.pipe.lock().await.writer = None;
    }
}
