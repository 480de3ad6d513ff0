//! Times for people: in UTC, and dates as they were typed.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, Unit};

const DAY: i64 = 86_400_000;

/// The date, if the time is midnight; otherwise the time too.
pub(super) fn expiration(millis: i64) -> String {
    let days = SignedDuration::from_hours(millis / DAY * 24);
    match Date::constant(1970, 1, 1).checked_add(days) {
        Ok(date) if millis % DAY == 0 => date.to_string(),
        _ => timestamp(millis),
    }
}

/// As in `2026-11-23T08:46:23Z`; the number itself where no calendar reaches.
pub(super) fn timestamp(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).and_then(|time| time.round(Unit::Second));
    time.map_or_else(|_| millis.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a key ends at a midnight, at another time, and beyond any calendar.
    // Guarantee: the date is the one that was typed, whatever the time zone; nothing panics.
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
