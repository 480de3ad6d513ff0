//! Output whose writers never wait for its reader.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The largest number of lines that wait for the reader. Further lines are dropped and counted.
const MAX_WAITING: usize = 8192;

/// How long writing the last lines may take.
const LAST_LINES: Duration = Duration::from_millis(1200);

/// Writes lines on its own thread, so that a reader that stalls does not block the code that
/// writes.
///
/// While nobody reads, up to 8192 lines wait, and further lines are dropped. When this value is
/// dropped, it writes the waiting lines for at most 1.2 seconds.
#[derive(Debug)]
pub(crate) struct LossyOutput {
    name: &'static str,
    lines: NonBlocking,
    dropped: ErrorCounter,
    /// How many of the dropped lines have been reported.
    reported: usize,
    guard: Option<WorkerGuard>,
}

impl LossyOutput {
    /// Starts the thread, which writes to `writer`.
    pub(crate) fn new(name: &'static str, writer: impl Write + Send + 'static) -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).thread_name(name);
        let (lines, guard) = builder.buffered_lines_limit(MAX_WAITING).finish(writer);
        let dropped = lines.error_counter();
        Self { name, lines, dropped, reported: 0, guard: Some(guard) }
    }

    /// Returns a handle for writing lines. Each write is one line.
    pub(crate) fn lines(&self) -> NonBlocking {
        self.lines.clone()
    }

    /// Logs how many lines were dropped since the last call, if any lines were dropped.
    pub(crate) fn report_dropped_lines(&mut self) {
        let dropped = self.dropped.dropped_lines();
        let new = dropped - self.reported;
        if new > 0 {
            self.reported = dropped;
            tracing::warn!(
                output = self.name,
                lines = new,
                "lines were dropped: nobody read the output"
            );
        }
    }
}

/// Each write is one line.
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
        let guard = self.guard.take();
        let (done, ended) = mpsc::channel();
        // If the writing thread hangs, the guard prints to standard output, and may hang there,
        // too. Therefore another thread drops the guard.
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

    /// A writer that gives each line to the test, and then waits until the test lets it continue.
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

    // Scenario: the reader stalls at the first line. Then twice as many lines are written as may
    // wait. Then the reader continues.
    // Guarantee: no write waits for the reader. The first line is written, and then as many of the
    // oldest lines as may wait. The other lines are counted as dropped.
    #[test]
    fn a_reader_that_stalls_stops_nobody() {
        let ((line, lines), (go, going)) = (channel(), channel());
        let mut output = LossyOutput::new("test", Stalled(line, going));
        output.write_all(b"first").unwrap();
        assert_eq!(lines.recv().unwrap(), b"first");
        for number in 0..2 * MAX_WAITING {
            output.write_all(number.to_string().as_bytes()).unwrap();
        }
        assert_eq!(output.dropped.dropped_lines(), MAX_WAITING);
        output.report_dropped_lines();
        assert_eq!(output.reported, MAX_WAITING);
        (0..=MAX_WAITING).for_each(|_| go.send(()).unwrap());
        drop(output);
        let written: Vec<_> = lines.iter().take(MAX_WAITING).collect();
        assert_eq!(written.last().unwrap(), (MAX_WAITING - 1).to_string().as_bytes());
    }
}
