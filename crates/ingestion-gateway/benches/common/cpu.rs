//! The processor time of a process.

use std::fs;
use std::time::Duration;

/// Returns the processor time that a process has used so far.
pub(crate) fn cpu(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let nanoseconds = |thread: fs::DirEntry| {
        let statistics = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(nanoseconds).sum())
}
