//! How long a sender that could not be served waits before it tries again. `Retry-After` and
//! `RetryInfo` carry this time.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The range of the random waits, in seconds.
const SPREAD: RangeInclusive<u64> = 1..=5;

/// Returns how long a sender that cannot be served now should wait before it tries again. The wait
/// is 1 to 5 whole seconds, at random, so that senders that were rejected at the same time do not
/// try again at the same time.
///
/// The layer and the interceptor use this wait for `Retry-After` and `RetryInfo`. The function is
/// public for services that respond with 503 or `UNAVAILABLE` themselves.
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

/// Rounds `wait` up to whole seconds, and to at least one second. `Retry-After` carries only whole
/// seconds, and a sender that waits less than `wait` is rejected again.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    Duration::from_secs(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: waits of zero, of a part of a second, of whole seconds, and of the maximum are
    // rounded.
    // Guarantee: each wait is rounded up to at least 1 s, and the maximum does not overflow.
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
