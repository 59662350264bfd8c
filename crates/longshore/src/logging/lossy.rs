//! A writer that never makes anybody wait: a thread writes what it is given, and what it cannot keep up with is lost.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const MAX_LINES: usize = 8192;
/// Bytes of lines that may wait.
const MAX_BYTES: usize = 8 << 20;
/// How long the end of the program waits for lines that are still to be written.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a full queue is tried again at the end.
const RETRY: Duration = Duration::from_millis(5);

/// Where lines are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lossy {
    queue: SyncSender<Item>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    End,
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

/// Waits, when it is dropped, until what was handed in is written, but not for long.
#[derive(Debug)]
pub(crate) struct Flush {
    queue: SyncSender<Item>,
    done: Receiver<()>,
}

/// Writes to `output` from a thread of its own. `notice` is the line that tells of so many lost ones.
pub(crate) fn writer(output: impl Write + Send + 'static, notice: fn(u64) -> String) -> (Lossy, Flush) {
    let (queue, items) = mpsc::sync_channel(MAX_LINES);
    let (finished, done) = mpsc::sync_channel(1);
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    // Without a thread nothing reads, so the lines are lost, which is better than no server.
    let _ = thread::Builder::new().name("log".to_owned()).spawn(move || {
        write_all(output, &items, &shared, notice);
        let _ = finished.send(());
    });
    (Lossy { queue: queue.clone(), counts }, Flush { queue, done })
}

fn write_all(mut output: impl Write, items: &Receiver<Item>, counts: &Counts, notice: fn(u64) -> String) {
    while let Ok(Item::Line(line)) = items.recv() {
        counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        let lost = counts.lost_lines.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(output, "{}", notice(lost));
        }
        let _ = output.write_all(&line);
    }
    let _ = output.flush();
}

impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.counts.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if before + line.len() > MAX_BYTES || self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lossy {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Item::End) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(RETRY);
        }
        let _ = self.done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An output that takes nothing while it is locked.
    #[derive(Clone, Default)]
    struct Stalled(Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn notice(lost: u64) -> String {
        format!("{lost} lines are lost")
    }

    #[test]
    fn nobody_waits_for_a_stalled_output_and_the_loss_is_told() {
        let output = Stalled::default();
        let (mut writer, flush) = writer(output.clone(), notice);
        let lock = output.0.lock().unwrap();
        for number in 0..MAX_LINES + 10 {
            writer.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        drop(lock);
        drop(flush);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let lost: usize = text.lines().find_map(|line| line.strip_suffix(" lines are lost")).unwrap().parse().unwrap();
        assert!((1..=10).contains(&lost), "{lost}");
        assert_eq!(text.lines().count(), MAX_LINES + 10 - lost + 1);
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let output = Stalled::default();
        let lock = output.0.lock().unwrap();
        let (mut writer, flush) = writer(output.clone(), notice);
        writer.write_all(b"x").unwrap();
        drop(flush);
        drop(lock);
    }
}
