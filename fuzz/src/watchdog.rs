//! Ends the process when an input takes too long, or when the memory grows without end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::run::{Which, report};
use crate::target::Current;

/// The processor time that one input may take. The time on the clock says little on a busy machine.
const MAX_CPU: Duration = Duration::from_secs(1);

/// The time after which an input hangs, even if it uses no processor.
const MAX_TIME: Duration = Duration::from_secs(60);

/// The memory that this process may use, in KiB.
const MAX_MEMORY: u64 = 1 << 20;

/// The time between two looks at the targets.
const INTERVAL: Duration = Duration::from_millis(100);

/// The length of a tick of the processor times in `/proc`. It is the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Watches the inputs of all targets that run.
#[derive(Debug)]
pub(crate) struct Watchdog {
    watched: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    which: Which,
    current: Current,
    count: u64,
    since: Instant,
    cpu: Duration,
}

/// Ends the watch over a target when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    watchdog: &'a Watchdog,
    which: Which,
}

impl Watchdog {
    pub(crate) fn start() -> Self {
        let watched = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&watched);
        thread::spawn(move || {
            loop {
                thread::sleep(INTERVAL);
                let mut watched = shared.lock().unwrap_or_else(PoisonError::into_inner);
                watched.iter_mut().for_each(Watched::look);
            }
        });
        Self { watched }
    }

    pub(crate) fn watch(&self, which: Which, current: &Current) -> Watch<'_> {
        let current = current.clone();
        let watched =
            Watched { cpu: cpu(&current), which, count: 0, since: Instant::now(), current };
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        Watch { watchdog: self, which }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut watched = self.watchdog.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|watched| watched.which != self.which);
    }
}

impl Watched {
    fn look(&mut self) {
        let (count, cpu) = (self.current.count(), cpu(&self.current));
        let used = cpu.saturating_sub(self.cpu);
        if count != self.count {
            (self.count, self.since, self.cpu) = (count, Instant::now(), cpu);
        } else if used > MAX_CPU + INTERVAL {
            self.end(&format!("the input takes more than {used:?} of processor time"));
        } else if self.since.elapsed() > MAX_TIME {
            self.end(&format!("the input hangs for {MAX_TIME:?}"));
        }
        if let Some(memory) = memory("self", "VmRSS:").filter(|memory| *memory > MAX_MEMORY) {
            self.end(&format!("this process uses {memory} KiB of memory"));
        }
    }

    fn end(&self, finding: &str) -> ! {
        report(self.which, &self.current, finding);
        process::exit(1);
    }
}

/// Returns the files with the processor times of the current thread and of this process.
pub(crate) fn stats(process: Option<u32>) -> Result<Vec<PathBuf>> {
    let thread = fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
    let thread = Path::new("/proc").join(thread).join("stat");
    let process = process.map(|id| PathBuf::from(format!("/proc/{id}/stat")));
    Ok([Some(thread), process].into_iter().flatten().collect())
}

/// Returns the largest or the current memory of a process in KiB. `field` is a field of
/// `/proc/PROCESS/status`.
pub(crate) fn memory(process: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn cpu(current: &Current) -> Duration {
    current.stats().iter().filter_map(|path| cpu_of(path)).sum()
}

/// Returns the processor time in a file `stat` of `/proc`: the time in the program and the time in
/// the kernel, which are the fields 14 and 15.
fn cpu_of(path: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(path).ok()?;
    // The name of the program, in parentheses, may contain blanks. It is the field 2.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks =
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok());
    Some(TICK * ticks.sum::<u32>())
}
