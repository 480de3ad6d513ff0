//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// The longest pause after the first failure. Each further failure doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Returns the longest pause after this number of failures. It is at most `longest`.
pub(crate) fn pause(failures: u32, longest: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(longest)
}

/// Returns a time between a half of the pause and the pause. `random` is between 0 and 1.
pub(crate) fn jittered(pause: Duration, random: f64) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(random)
}

/// Returns a random number between 0 and 1. If the operating system has no random bytes, the number
/// is 1.
pub(crate) fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: something fails again and again, with a longest pause of 5 s and of 50 ms.
    // Guarantee: the pauses double, from 100 ms to the longest pause. What is waited is at least a
    // half of a pause and never more than the pause.
    #[test]
    fn pauses_grow_up_to_the_longest() {
        let millis = |longest, failures: &[u32]| -> Vec<_> {
            let pause = |failures| pause(failures, Duration::from_millis(longest));
            failures.iter().map(|&failures| pause(failures).as_millis()).collect()
        };
        assert_eq!(
            millis(5000, &[1, 2, 3, 6, 7, 33, u32::MAX]),
            [100, 200, 400, 3200, 5000, 5000, 5000]
        );
        assert_eq!(millis(50, &[1, 2, u32::MAX]), [50, 50, 50]);
        let pause = Duration::from_millis(100);
        let jittered = [0.0, 0.5, 1.0].map(|random| jittered(pause, random));
        assert_eq!(jittered.map(|wait| wait.as_millis()), [50, 75, 100]);
    }
}
