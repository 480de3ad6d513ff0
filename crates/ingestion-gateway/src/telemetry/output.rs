//! Writing lines without ever waiting for whoever reads them.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written; more are dropped.
const MAX_WAITING: usize = 8192;

/// Writes lines on a thread of its own. While nobody reads them they wait, up to a number, and then
/// are lost; how many is logged once there is room again.
///
/// The thread is never waited for: it may hang in a write for ever.
#[derive(Clone, Debug)]
pub struct Output(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<Vec<u8>>,
    is_writing: bool,
    lost: u64,
}

impl Output {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the operating system has no thread left.
    pub fn new(name: &'static str, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let log = move |lost| {
            tracing::warn!(
                output = name,
                lost,
                "lines were lost: nobody read those before them in time"
            )
        };
        Self::telling(name, writer, log)
    }

    fn telling(
        name: &str,
        writer: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let output = Self(Arc::default());
        let shared = Arc::clone(&output.0);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || shared.write_for_ever(writer, tell))?;
        Ok(output)
    }

    /// Hands a line over, with its end.
    pub fn push(&self, line: Vec<u8>) {
        let mut lines = self.0.lock();
        if lines.waiting.len() < MAX_WAITING {
            lines.waiting.push_back(line);
            self.0.changed.notify_all();
        } else {
            lines.lost += 1;
        }
    }

    /// Waits until everything is written, or for as long as this.
    pub fn flush_within(&self, patience: Duration) {
        let unwritten = |lines: &mut Lines| lines.is_writing || !lines.waiting.is_empty();
        drop(self.0.changed.wait_timeout_while(self.0.lock(), patience, unwritten));
    }
}

/// One write is one line.
impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut writer: impl Write, tell: impl Fn(u64)) {
        let mut lines = self.lock();
        loop {
            if let Some(line) = lines.waiting.pop_front() {
                lines.is_writing = true;
                drop(lines);
                // Nobody may be listening any more: that is no reason to stop.
                let _ = writer.write_all(&line).and_then(|()| writer.flush());
                lines = self.lock();
                // Telling may be a line itself, and must find room.
                if lines.lost > 0 && lines.waiting.len() <= MAX_WAITING / 2 {
                    let lost = std::mem::take(&mut lines.lost);
                    drop(lines);
                    tell(lost);
                    lines = self.lock();
                }
            } else {
                lines.is_writing = false;
                self.changed.notify_all();
                lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells of each line, and goes on once it is told to.
    struct Stalled(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_vec()).unwrap();
            self.1.recv().unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // Scenario: far more lines are pushed than fit while the first one cannot be written; then it
    // can. Guarantee: nothing waits for it; as many lines as fit are written after it, the oldest,
    // and how many were lost is told once.
    #[test]
    fn a_reader_that_stalls_stops_nobody() {
        let ((tell, told), (go, on)) = (channel(), channel());
        let (tell_lost, lost) = channel();
        let output =
            Output::telling("test", Stalled(tell, on), move |lost| tell_lost.send(lost).unwrap())
                .unwrap();
        output.push(b"first".to_vec());
        assert_eq!(told.recv().unwrap(), b"first");
        (0..2 * MAX_WAITING).for_each(|number| output.push(number.to_string().into_bytes()));
        output.flush_within(Duration::ZERO);
        (0..=MAX_WAITING).for_each(|_| go.send(()).unwrap());
        output.flush_within(Duration::MAX);
        assert_eq!(lost.try_iter().collect::<Vec<_>>(), [MAX_WAITING as u64]);
        let written: Vec<_> = told.try_iter().collect();
        assert_eq!(written.len(), MAX_WAITING);
        assert_eq!(written.last().unwrap(), (MAX_WAITING - 1).to_string().as_bytes());
    }
}
