//! Durations as Go writes them.

use std::time::Duration;

/// Reads a sequence of decimal numbers with a unit each, as in `1h15m30.5s`. Negative durations,
/// and those that Go's `time.Duration` cannot hold (more than 292 years), give `None`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after) = unit(after)?;
        // Go's type ends far below 10^18 whole units, and a nanosecond is its smallest unit, so
        // further digits of the fraction change nothing.
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
        nanos += u128::from(whole) * unit + fraction * unit / scale;
        if nanos > i64::MAX as u128 {
            return None;
        }
        rest = after;
    }
    if text.is_empty() { None } else { u64::try_from(nanos).ok().map(Duration::from_nanos) }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The unit that `text` starts with, in nanoseconds, and the text after it. Longer names come first
/// in the table, because `ms` also starts with `m`.
fn unit(text: &str) -> Option<(u128, &str)> {
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("\u{3bc}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS.iter().find_map(|(name, nanos)| text.strip_prefix(name).map(|rest| (*nanos, rest)))
}
