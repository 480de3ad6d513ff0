//! `grpc-timeout` of a request that may be sent twice: the time is for both.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Most digits of a `grpc-timeout`.
const MAX_DIGITS: usize = 8;

/// When a request's time is over, if it has a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let timeout = headers.get(GRPC_TIMEOUT).and_then(|value| parse(value.to_str().ok()?));
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// How much of the time is left.
    pub(super) fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Writes what is left in place of the whole.
    pub(super) fn shorten(self, headers: &mut HeaderMap) {
        if let Some(left) = self.left()
            && let Ok(value) = HeaderValue::try_from(written(left))
        {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }
}

/// A number of at most eight digits and a unit, as "Timeout" of the gRPC protocol over HTTP/2.
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

/// The finest unit in which eight digits hold it.
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

    /// Timeouts in every unit, and texts that are none.
    /// Each is read as what it says, and nothing else is read.
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

    /// Any time that is left is written.
    /// It is read back as at most what it was, and less than a second below it.
    #[test]
    fn what_is_left_is_read_back() {
        for time in
            [0, 1, 999_999, 99_999_999, 100_000_000, 99_999_999_999_999].map(Duration::from_micros)
        {
            let read = parse(&written(time)).unwrap();
            assert!(read <= time && time - read < Duration::from_secs(1), "{time:?}: {read:?}");
        }
    }

    /// A request without a timeout, and one with a timeout, are sent again.
    /// The first gets none; the second gets what is left, which is no more than it had.
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
