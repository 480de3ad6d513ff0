//! Output that never blocks the program, even while nobody reads it.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The largest number of lines that wait to be written. Further lines are dropped and counted. The
/// queue takes 32 bytes for each of them from the start.
const MAX_WAITING: usize = 2048;

/// The maximum time for which closing the output waits until the last lines are written. This time
/// begins after the wait for room in the queue.
const LAST_LINES: Duration = Duration::from_millis(1200);

/// How many times, and at which interval, the queue of lines is checked for room before the output
/// is closed.
const CHECKS: u32 = 50;
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Writes lines on a separate thread, so that a reader that stalls does not block the program.
///
/// While nobody reads the output, up to 2048 lines wait, and further lines are dropped. When this
/// value is dropped, it waits for at most about two seconds: one second until another line fits
/// into the queue, and one second until the queued lines are written.
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

    /// Returns a handle that writes lines. Each write must be one line.
    pub(crate) fn lines(&self) -> NonBlocking {
        self.lines.clone()
    }

    /// Logs how many lines were dropped since the last report, if any lines were dropped. If that
    /// log line is dropped, too, the next report contains the same lines again.
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

    /// Waits until the dropped lines are reported and another line fits into the queue, for at most
    /// a second. The guard ends the thread by a message that needs room in the queue, and gives up
    /// after 100 ms without room.
    fn finish_report(&mut self) {
        for _ in 0..CHECKS {
            let before = self.dropped.dropped_lines();
            // If the queue has no room, this empty line is dropped and counted. Otherwise it prints
            // nothing, but may take the last room, so that the report is dropped and counted.
            let has_room = self.lines.write(b"").is_ok() && self.dropped.dropped_lines() == before;
            if has_room {
                self.report_dropped_lines();
                if self.dropped.dropped_lines() == before {
                    return;
                }
            }
            // One of the two lines was counted as dropped, but must not be reported.
            self.reported += 1;
            thread::sleep(CHECK_INTERVAL);
        }
    }
}

/// Takes each write as one line.
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
        self.finish_report();
        let guard = self.guard.take();
        let (done, ended) = mpsc::channel();
        // If the thread hangs, dropping the guard writes to standard output, and this write might
        // hang, too. Therefore the guard is dropped on another thread.
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

    /// A writer that sends each line to the test, and then waits until the test allows it to
    /// continue.
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

    // Scenario: the reader stalls at the first line. Meanwhile, twice as many lines are written as
    // fit into the queue. Then the reader continues, and the output is closed.
    // Guarantee: no write waits for the reader. The first line and the oldest waiting lines are
    // written. The other lines are counted as dropped. If the report of this number is dropped, the
    // number is reported again.
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

    // Scenario: an output is closed while its queue is full. Its reader takes one line, and takes
    // the others once the report of the dropped lines has been dropped, too.
    // Guarantee: the number of dropped lines is reported all the same, and does not include the
    // lines that closing has dropped.
    #[test]
    fn closing_reports_once_there_is_room() {
        let ((line, lines), (go, going)) = (channel(), channel());
        let mut output = LossyOutput::new("test", Stalled(line, going));
        output.write_all(b"first").unwrap();
        assert_eq!(lines.recv().unwrap(), b"first");
        (0..MAX_WAITING + 5).for_each(|_| output.write_all(b"line").unwrap());
        let (dropped, log) = (output.dropped.clone(), output.lines());
        go.send(()).unwrap();
        assert_eq!(lines.recv().unwrap(), b"line");
        let reader = thread::spawn(move || {
            while dropped.dropped_lines() == 5 {
                thread::yield_now();
            }
            (0..2 * MAX_WAITING).for_each(|_| go.send(()).unwrap());
        });
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(log).finish();
        tracing::subscriber::with_default(log, || drop(output));
        reader.join().unwrap();
        let report = lines.iter().filter(|line| !line.is_empty()).last().unwrap();
        let report = String::from_utf8_lossy(&report).into_owned();
        assert!(report.contains("lines=5 ") || report.trim_end().ends_with("lines=5"), "{report}");
    }
}
