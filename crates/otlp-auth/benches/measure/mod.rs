//! Timing of single operations, shared by the benchmark programs. One run of a program is one
//! round over all its cases, and prints one JSON object a line.
//!
//! `cargo xtask bench` runs the programs several times, in turn with those of the peers, and takes
//! medians, so that all of them see the same states of the machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The shortest time that a batch takes, so that reading the clock does not count.
const BATCH: Duration = Duration::from_millis(2);

/// Batches of each operation; their median is the operation's result.
const BATCHES: usize = 15;

/// The nanoseconds that one call of each operation takes. The operations are made with [`timed`],
/// and are measured batch by batch in turn, so that a change of the machine's speed meets them all.
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

/// A function that makes the given number of calls of `operation` and returns the processor time
/// that this thread needs for them. What a call returns is dropped inside that time.
///
/// Wall-clock time would count the time slices that other programs get: on two cores that twelve
/// programs wanted, the same case took 47 ns in one run and 180 ns in the next.
pub(crate) fn timed<T>(operation: impl FnMut() -> T) -> impl FnMut(u32) -> Duration {
    timed_with(operation, processor_time)
}

/// As [`timed`], by another clock.
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

/// The processor time that this thread has had so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Heap allocations that one call of `operation` makes, on average.
pub(crate) fn allocations<T>(mut operation: impl FnMut() -> T) -> f64 {
    const CALLS: u32 = 1000;
    let counted = allocation_counter::measure(|| {
        for _ in 0..CALLS {
            std::hint::black_box(operation());
        }
    });
    counted.count_total as f64 / f64::from(CALLS)
}

/// Prints a result in the unit of its case. The result belongs to `peer`; without a peer it belongs
/// to this library. The peers of these programs are yardsticks, which have no version.
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
