//! Parsers for the values of flags. Their errors say what is expected.

use std::time::Duration;

use jiff::civil::Date;

/// The expiration of a key: the start of a day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiration(Date);

impl Expiration {
    /// The expiration in milliseconds since the epoch.
    pub(crate) fn as_millis(self) -> i64 {
        // The result is computed from days of 24 hours. A `Timestamp` of jiff is not suitable,
        // because its maximum is before the last day of the year 9999.
        self.0.duration_since(Date::constant(1970, 1, 1)).as_hours() * 3_600_000
    }
}

/// Parses a date in the form `yyyy-MM-dd`.
pub(super) fn expiration(text: &str) -> Result<Expiration, String> {
    let text = text.trim();
    let form = || "expected a date such as 2030-12-31 (yyyy-MM-dd)".to_owned();
    let parts = text.split('-').collect::<Vec<_>>();
    let [year, month, day] = parts[..] else { return Err(form()) };
    let number = |text: &str, digits| {
        (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())
    };
    let (Some(Some(year)), Some(Some(month)), Some(Some(day))) =
        (number(year, 4), number(month, 2), number(day, 2))
    else {
        return Err(form());
    };
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else { return Err(form()) };
    Date::new(year, month, day).map(Expiration).map_err(|_| "this day does not exist".to_owned())
}

/// Parses the id of a key, which is a decimal number. A leading zero is an error, because the
/// original command would parse such a text as an octal number.
pub(super) fn id(text: &str) -> Result<i64, String> {
    let is_decimal = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(id) if is_decimal && id > 0 => Ok(id),
        _ => Err(format!("expected a decimal number from 1 to {}", i64::MAX)),
    }
}

/// Parses a duration that fits into a [`RotateRequest`](ingestion_api::RotateRequest).
pub(super) fn overlap(text: &str) -> Result<Duration, String> {
    let text = if text.trim() == "0" { "0s" } else { text };
    let expected = || "expected a duration such as 24h, 30m or 0s".to_owned();
    let duration = humantime::parse_duration(text.trim()).map_err(|_| expected())?;
    match i64::try_from(duration.as_millis()) {
        Ok(_) => Ok(duration),
        Err(_) => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: texts are parsed as dates.
    // Guarantee: only existing days in the form `yyyy-MM-dd` are accepted. White space around them
    // is ignored. The result is midnight in UTC.
    #[test]
    fn only_existing_dates_are_accepted() {
        let millis = |text| expiration(text).ok().map(Expiration::as_millis);
        assert_eq!(millis("2020-05-22"), Some(1_590_105_600_000));
        assert_eq!(millis(" 2020-05-22\t"), Some(1_590_105_600_000));
        assert_eq!(millis("2024-02-29"), Some(1_709_164_800_000));
        assert_eq!(millis("9999-12-31"), Some(253_402_214_400_000));
        for refused in [
            "",
            "tomorrow",
            "2026-02-30",
            "2025-02-29",
            "10000-01-01",
            "2026-1-1",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "-026-01-01",
            "+026-01-01",
            "2026/01/01",
            "2026-01-01T00:00:00Z",
            "2026-01-01-",
            "٢٠٢٦-01-01",
            "26-01-01",
        ] {
            assert!(expiration(refused).is_err(), "{refused}");
        }
    }

    // Scenario: texts are parsed as ids.
    // Guarantee: only positive decimal numbers that fit into 64 bits are accepted.
    #[test]
    fn only_decimal_ids_are_accepted() {
        assert_eq!(id("1"), Ok(1));
        assert_eq!(id("250558013078953"), Ok(250_558_013_078_953));
        assert_eq!(id("9223372036854775807"), Ok(i64::MAX));
        for refused in [
            "",
            "0",
            "-1",
            "+1",
            "0x10",
            "010",
            "1_000",
            "9223372036854775808",
            "1.0",
            " 1",
            "foo",
            "١",
        ] {
            assert!(id(refused).is_err(), "{refused}");
        }
    }

    // Scenario: texts are parsed as overlaps.
    // Guarantee: a duration with a unit is accepted, and so is a zero without a unit. A duration
    // that is too long is an error.
    #[test]
    fn overlaps_have_a_unit() {
        assert_eq!(overlap("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(overlap("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(overlap("0"), Ok(Duration::ZERO));
        for refused in ["", "24", "-1h", "soon", "99999999999999999999h", "500000000000y"] {
            assert!(overlap(refused).is_err(), "{refused}");
        }
    }
}
