//! Timing of single operations, for both benchmarks: one round over all cases a run, one JSON
//! object a line.
//!
//! The caller repeats the run in turn with its peers and takes medians, so that all of them see the
//! same states of the machine.

use std::time::{Duration, Instant};

/// Shortest time that a batch takes, so that reading the clock does not count.
const BATCH: Duration = Duration::from_millis(2);

/// Batches a case; their median is its result.
const BATCHES: usize = 15;

/// Nanoseconds that one call of `operation` takes. `operation` makes one call; what it returns is
/// dropped inside the measured time.
pub(crate) fn nanoseconds<T>(operation: impl FnMut() -> T) -> f64 {
    nanoseconds_of_two(operation, || ()).0
}

/// The same of two operations, batch by batch in turn.
pub(crate) fn nanoseconds_of_two<T, U>(
    mut first: impl FnMut() -> T,
    mut second: impl FnMut() -> U,
) -> (f64, f64) {
    let calls = (calls_in_a_batch(&mut first), calls_in_a_batch(&mut second));
    let mut samples = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        samples.0.push(batch(calls.0, &mut first).as_secs_f64() * 1e9 / f64::from(calls.0));
        samples.1.push(batch(calls.1, &mut second).as_secs_f64() * 1e9 / f64::from(calls.1));
    }
    (median(samples.0), median(samples.1))
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

/// Prints a result: `value` in the unit of the case, of `peer` or, without one, of this library.
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

fn calls_in_a_batch<T>(operation: &mut impl FnMut() -> T) -> u32 {
    let mut calls = 1_u32;
    while batch(calls, operation) < BATCH {
        calls = calls.saturating_mul(2);
    }
    calls
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn batch<T>(calls: u32, operation: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        std::hint::black_box(operation());
    }
    start.elapsed()
}
