//! Output that never makes its writer wait for its reader.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The number of lines that wait for their reader; further ones are dropped and counted.
const MAX_WAITING: usize = 8192;

/// How long the last lines may take to be written, once there is room in the queue.
const LAST_LINES: Duration = Duration::from_millis(1200);

/// How often and at which interval the queue is checked for room before the output is closed.
const CHECKS: u32 = 50;
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Writes lines on a thread of its own, so that a reader that stalls stops nobody.
///
/// While nobody reads, up to 8192 lines wait, and further ones are dropped. When this value is
/// dropped, the waiting lines are written, for at most about two seconds: one until another line
/// fits into the queue, and one until the queue is empty.
#[derive(Debug)]
pub(crate) struct LossyOutput {
    name: &'static str,
    lines: NonBlocking,
    dropped: ErrorCounter,
    /// The number of dropped lines that were reported.
    reported: usize,
    guard: Option<WorkerGuard>,
}

impl LossyOutput {
    /// Starts the thread, which writes to `writer`.
    ///
    /// # Panics
    ///
    /// When the operating system has no thread left.
    pub(crate) fn new(name: &'static str, writer: impl Write + Send + 'static) -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).thread_name(name);
        let (lines, guard) = builder.buffered_lines_limit(MAX_WAITING).finish(writer);
        let dropped = lines.error_counter();
        Self { name, lines, dropped, reported: 0, guard: Some(guard) }
    }

    /// A handle that writes lines, one line in each write.
    pub(crate) fn lines(&self) -> NonBlocking {
        self.lines.clone()
    }

    /// Logs how many lines were dropped since the last report, if any were. If this line is dropped
    /// itself, the next report contains the number again.
    pub(crate) fn report_dropped_lines(&mut self) {
        let dropped = self.dropped.dropped_lines();
        let new = dropped - self.reported;
        if new == 0 {
            return;
        }
        tracing::warn!(output = self.name, lines = new, "lines were dropped: nobody read them");
        if self.dropped.dropped_lines() == dropped {
            self.reported = dropped;
        }
    }

    /// Waits until another line fits into the queue, for at most a second. The guard needs the room
    /// for its request to end, and gives up after 100 ms.
    fn wait_for_room(&mut self) {
        for _ in 0..CHECKS {
            let dropped = self.dropped.dropped_lines();
            // An empty line shows whether there is room, and prints nothing.
            let _ = self.lines.write(b"");
            if self.dropped.dropped_lines() == dropped {
                return;
            }
            // The empty line is not a line to report.
            self.reported += 1;
            thread::sleep(CHECK_INTERVAL);
        }
    }
}

/// One write is one line.
impl Write for LossyOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

impl Drop for LossyOutput {
    fn drop(&mut self) {
        self.wait_for_room();
        self.report_dropped_lines();
        let guard = self.guard.take();
        let (done, ended) = mpsc::channel();
        // The guard writes to standard output when the thread hangs, and might hang there itself.
        let waiter = thread::Builder::new().spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if waiter.is_ok() {
            let _ = ended.recv_timeout(LAST_LINES);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Hands each line to the test, and goes on when the test allows it.
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

    // Scenario: the reader stalls at the first line, and twice as many lines as may wait are
    // written. Then the reader continues, and the output is closed.
    // Guarantee: no write waits for the reader. The first line and the oldest waiting lines are
    // written. The other lines are counted, and the report of their number is tried again when it
    // was dropped itself.
    #[test]
    fn a_reader_that_stalls_stops_nobody() {
        let ((line, lines), (go, going)) = (channel(), channel());
        let mut output = LossyOutput::new("test", Stalled(line, going));
        output.write_all(b"first").unwrap();
        assert_eq!(lines.recv().unwrap(), b"first");
        for number in 0..2 * MAX_WAITING {
            output.write_all(number.to_string().as_bytes()).unwrap();
        }
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(output.lines()).finish();
        tracing::subscriber::with_default(log, || output.report_dropped_lines());
        assert_eq!((output.dropped.dropped_lines(), output.reported), (MAX_WAITING + 1, 0));
        (0..2 * MAX_WAITING).for_each(|_| go.send(()).unwrap());
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(output.lines()).finish();
        tracing::subscriber::with_default(log, || drop(output));
        let written: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
        let (report, written) = written.split_last().unwrap();
        assert_eq!(written.len(), MAX_WAITING);
        assert_eq!(written.last().unwrap(), (MAX_WAITING - 1).to_string().as_bytes());
        let report = String::from_utf8_lossy(report);
        assert!(report.contains(&format!("lines={}", MAX_WAITING + 1)), "{report}");
    }
}
