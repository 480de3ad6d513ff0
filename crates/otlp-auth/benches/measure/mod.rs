//! Measures the time of single operations, for all benchmark programs. One run of a program is one
//! round over all cases of the program. It prints one JSON object per line.
//!
//! `cargo xtask bench` runs these programs and those of the peers in turn, several times, and takes
//! medians. In this way, all programs see the same states of the machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The minimum duration of a batch of calls. It is long enough that the time spent reading the
/// clock is negligible.
const BATCH: Duration = Duration::from_millis(2);

/// The number of batches of each operation. The result of an operation is the median of its
/// batches.
const BATCHES: usize = 15;

/// Returns the nanoseconds that one call of each operation takes. The operations are made with
/// [`timed`] or [`timed_with`]. They run in turn, one batch each, so that a change of the machine's
/// speed affects all of them.
pub(crate) fn nanoseconds<const N: usize>(
    mut operations: [&mut dyn FnMut(u32) -> Duration; N],
) -> [f64; N] {
    let calls = operations.each_mut().map(|operation| calls_in_a_batch(operation));
    let mut samples = [const { Vec::new() }; N];
    for _ in 0..BATCHES {
        for ((operation, calls), samples) in operations.iter_mut().zip(calls).zip(&mut samples) {
            samples.push(operation(calls).as_secs_f64() * 1e9 / f64::from(calls));
        }
    }
    samples.map(median)
}

/// Returns a function that makes the given number of calls of `operation`. That function returns
/// the processor time that this thread needs for the calls and for dropping their results.
///
/// Wall-clock time would also count the time slices of other programs. While twelve programs
/// competed for two cores, the same case took 47 ns in one run and 180 ns in the next run.
pub(crate) fn timed<T>(operation: impl FnMut() -> T) -> impl FnMut(u32) -> Duration {
    timed_with(operation, processor_time)
}

/// Does the same as [`timed`], but reads the time from `clock`.
pub(crate) fn timed_with<T>(
    mut operation: impl FnMut() -> T,
    clock: impl Fn() -> Duration,
) -> impl FnMut(u32) -> Duration {
    move |calls| {
        let start = clock();
        for _ in 0..calls {
            std::hint::black_box(operation());
        }
        clock() - start
    }
}

/// Returns the processor time that this thread has used so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Returns how many heap allocations one call of `operation` makes on average.
pub(crate) fn allocations<T>(mut operation: impl FnMut() -> T) -> f64 {
    const CALLS: u32 = 1000;
    let counted = allocation_counter::measure(|| {
        for _ in 0..CALLS {
            std::hint::black_box(operation());
        }
    });
    counted.count_total as f64 / f64::from(CALLS)
}

/// Prints a result in the unit of its case. The result belongs to `peer`, or to this library if
/// `peer` is `None`. No version is printed for a peer, because the peers of these benchmarks are
/// simple baselines and not released libraries.
pub(crate) fn report(
    case: &str,
    peer: Option<&str>,
    value: f64,
    allocations: impl Into<Option<f64>>,
) {
    let peer = peer.map(|peer| format!(r#","peer":"{peer}""#)).unwrap_or_default();
    let allocations = allocations
        .into()
        .map_or_else(|| "null".to_owned(), |allocations| format!("{allocations:.3}"));
    println!(r#"{{"case":"{case}"{peer},"value":{value:.2},"allocations":{allocations}}}"#);
}

fn calls_in_a_batch(operation: &mut dyn FnMut(u32) -> Duration) -> u32 {
    let mut calls = 1_u32;
    while operation(calls) < BATCH {
        calls = calls.saturating_mul(2);
    }
    calls
}

/// Returns the median of the samples.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
