//! When a sender that could not be served should try again: the length of `Retry-After` and of
//! `RetryInfo`.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The times that are given to senders, in seconds.
const SPREAD: RangeInclusive<u64> = 1..=5;

/// When a sender that cannot be served now should try again: 1 to 5 whole seconds, at random, so
/// that senders that were refused together do not return together.
///
/// The layer and the interceptor use it for `Retry-After` and `RetryInfo`. It is public for
/// services that answer 503 or `UNAVAILABLE` themselves.
///
/// # Examples
///
/// ```
/// use http::header::{HeaderValue, RETRY_AFTER};
///
/// let mut response = http::Response::new("the store is unavailable");
/// *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
/// let seconds = otlp_auth::server::retry_after().as_secs();
/// response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
/// ```
#[must_use]
pub fn retry_after() -> Duration {
    Duration::from_secs(fastrand::u64(SPREAD))
}

/// `wait` in whole seconds, which is all that `Retry-After` can carry: rounded up, and at least
/// one, because a sender that waits for less is refused again.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    Duration::from_secs(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: waits of nothing, of a part of a second, of whole seconds, and of for ever.
    // Guarantee: each is rounded up, none is 0, and the longest one does not overflow.
    #[test]
    fn waits_are_rounded_up() {
        for (wait, expected) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::new(1, 1), 2),
            (Duration::from_secs(86_400), 86_400),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(whole_seconds(wait).as_secs(), expected, "{wait:?}");
        }
    }
}
