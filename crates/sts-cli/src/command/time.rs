//! Formatting of times in UTC for people. A date is printed as the user typed it.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, Unit};

/// A day in milliseconds.
const DAY: i64 = 86_400_000;

/// Formats an expiration, which is in milliseconds since the epoch. The result is a date if the
/// expiration is at midnight, and a date with a time otherwise.
pub(super) fn expiration(millis: i64) -> String {
    let days = SignedDuration::from_hours(millis / DAY * 24);
    match Date::constant(1970, 1, 1).checked_add(days) {
        Ok(date) if millis % DAY == 0 => date.to_string(),
        _ => timestamp(millis),
    }
}

/// Formats milliseconds since the epoch, as in `2026-11-23T08:46:23Z`. If the time is out of range,
/// the result is the number of milliseconds.
pub(super) fn timestamp(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).and_then(|time| time.round(Unit::Second));
    time.map_or_else(|_| millis.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: keys expire at midnight, at another time, and beyond the range of timestamps.
    // Guarantee: in every time zone, the date is the one that the user typed. Formatting does not
    // panic.
    #[test]
    fn a_date_is_the_one_that_was_typed() {
        assert_eq!(expiration(1_590_105_600_000), "2020-05-22");
        assert_eq!(expiration(1_590_105_601_000), "2020-05-22T00:00:01Z");
        assert_eq!(expiration(-86_400_000), "1969-12-31");
        assert_eq!(expiration(253_402_214_400_000), "9999-12-31");
        assert_eq!(expiration(i64::MAX / DAY * DAY), (i64::MAX / DAY * DAY).to_string());
        assert_eq!(expiration(i64::MAX), i64::MAX.to_string());
    }
}
