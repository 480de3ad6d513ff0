//! Measures the time of single operations, for all benchmark programs. One run of a program
//! measures each of its cases once, and prints one JSON object per line.
//!
//! `cargo xtask bench` runs each program several times, alternating with the programs of the peers,
//! and takes medians. In this way, all programs meet the same states of the machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The shortest time of a batch of calls. It is so long that the time to read the clock does not
/// count.
const BATCH: Duration = Duration::from_millis(2);

/// The number of batches of each operation. The median of the batches is the result.
const BATCHES: usize = 15;

/// Returns the nanoseconds that one call of each operation takes. The operations are made with
/// [`timed`]. Their batches alternate, so that a change of the machine's speed affects all of them.
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

/// Returns a function that calls `operation` the given number of times, and returns the processor
/// time that this thread used. This includes the time to drop the results of the calls.
///
/// Wall-clock time would include the time in which other programs run. When twelve programs shared
/// two cores, the same case took 47 ns in one run and 180 ns in the next.
pub(crate) fn timed<T>(operation: impl FnMut() -> T) -> impl FnMut(u32) -> Duration {
    timed_with(operation, processor_time)
}

/// Measures as [`timed`] does, but with another clock.
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

/// Returns the average number of heap allocations of one call of `operation`.
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
/// there is no peer.
pub(crate) fn report(
    case: &str,
    peer: Option<&str>,
    value: f64,
    allocations: impl Into<Option<f64>>,
) {
    let peer = peer
        .map(|peer| format!(r#","peer":"{peer}","version":"{}""#, env!("CARGO_PKG_VERSION")))
        .unwrap_or_default();
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

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
