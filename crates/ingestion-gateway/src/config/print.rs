//! Serializes settings for `config print`.

use std::fmt::Display;
use std::time::Duration;

use serde::Serializer;

/// Serializes a duration in the syntax of the configuration.
pub(super) fn duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    const UNITS: [(&str, u128); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (name, nanos) in UNITS {
        if rest >= nanos {
            text.push_str(&format!("{}{name}", rest / nanos));
            rest %= nanos;
        }
    }
    serializer.serialize_str(if text.is_empty() { "0s" } else { &text })
}

/// The text that is printed in place of a secret.
pub(super) const MASK: &str = "***";

/// Serializes a mask if a secret is set, and null otherwise.
pub(super) fn secret<S: Serializer>(is_set: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    if *is_set { serializer.serialize_str(MASK) } else { serializer.serialize_none() }
}

/// Serializes each value of a list as text.
pub(super) fn list<T: Display, S: Serializer>(
    values: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(T::to_string))
}
