//! Durations as Go writes them.

use std::time::Duration;

/// Reads a sequence of decimal numbers, each followed by a unit, as in `1h15m30.5s`. Returns `None`
/// for any other text, for a negative duration, and for one that is too long for Go's
/// `time.Duration` (more than 292 years).
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
        // At most 18 digits of the fraction are read. The largest unit, an hour, is less than 10^13
        // nanoseconds, so later digits add less than a nanosecond.
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

/// Returns the unit that `text` starts with, in nanoseconds, and the text after the unit. `ms`
/// comes before `m` in the table, because a text with `ms` also starts with `m`.
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
