//! The `grpc-timeout` of a request that may be sent twice. It limits the time of both attempts
//! together.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The maximum number of digits in a `grpc-timeout`.
const MAX_DIGITS: usize = 8;

/// The time at which a request must end; `None` if there is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let timeout = headers.get(GRPC_TIMEOUT).and_then(|value| parse(value.to_str().ok()?));
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// Returns how much time is left; `None` if there is no limit.
    pub(super) fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Replaces the request's `grpc-timeout` by the time that is left.
    pub(super) fn shorten(self, headers: &mut HeaderMap) {
        if let Some(left) = self.left()
            && let Ok(value) = HeaderValue::try_from(written(left))
        {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }
}

/// Reads a number of at most eight digits and a unit. The specification of gRPC over HTTP/2 calls
/// this `Timeout`.
fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > MAX_DIGITS {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes `time` in the smallest of the units µs, ms and s for which eight digits are enough.
fn written(time: Duration) -> String {
    const MOST: u128 = 10_u128.pow(MAX_DIGITS as u32) - 1;
    if time.as_micros() <= MOST {
        format!("{}u", time.as_micros())
    } else if time.as_millis() <= MOST {
        format!("{}m", time.as_millis())
    } else {
        format!("{}S", u128::from(time.as_secs()).min(MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: timeouts in every unit, and texts that are not timeouts.
    // Guarantee: each timeout is read with its length, and every other text is ignored.
    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("5x", None),
            ("-5S", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    // Scenario: times of any length are written and read back.
    // Guarantee: the time that is read is at most the time that was written, and less than 1 s
    // shorter.
    #[test]
    fn what_is_left_is_read_back() {
        for time in
            [0, 1, 999_999, 99_999_999, 100_000_000, 99_999_999_999_999].map(Duration::from_micros)
        {
            let read = parse(&written(time)).unwrap();
            assert!(read <= time && time - read < Duration::from_secs(1), "{time:?}: {read:?}");
        }
    }

    // Scenario: a request without a timeout, and a request with a timeout, are sent again.
    // Guarantee: the first request still has no timeout. The timeout of the second request is not
    // longer than before.
    #[test]
    fn only_a_deadline_is_shortened() {
        let mut headers = HeaderMap::new();
        Deadline::of(&headers).shorten(&mut headers);
        assert!(headers.is_empty());
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("10S"));
        Deadline::of(&headers).shorten(&mut headers);
        let left = parse(headers[GRPC_TIMEOUT].to_str().unwrap()).unwrap();
        assert!(left <= Duration::from_secs(10));
    }
}
