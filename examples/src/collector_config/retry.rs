//! The `retry_on_failure` block of an exporter.

use std::ops::RangeInclusive;
use std::time::Duration;

use otel_confmap::Node;

/// When a failed request is sent again: `retry_on_failure`.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    /// Whether a failed request is sent again at all.
    pub enabled: bool,
    /// The delay after the first failure.
    pub initial_interval: Duration,
    /// The fraction, from 0 to 1, by which a delay varies at random in both directions.
    pub randomization_factor: f64,
    /// The factor by which each delay is longer than the delay before it.
    pub multiplier: f64,
    /// The longest delay.
    pub max_interval: Duration,
    /// The time after which a request is given up; `None` means never.
    pub max_elapsed_time: Option<Duration>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Some(Duration::from_secs(300)),
        }
    }
}

impl RetryConfig {
    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        let mut map = node.map()?;
        let default = Self::default();
        let enabled = map.get("enabled").and_then(|node| node.bool()).unwrap_or(default.enabled);
        let mut duration = |key: &str| map.get(key).and_then(|node| node.duration());
        let initial_interval = duration("initial_interval").unwrap_or(default.initial_interval);
        let max_interval = duration("max_interval").unwrap_or(default.max_interval);
        let max_elapsed_time = duration("max_elapsed_time")
            .map_or(default.max_elapsed_time, |time| Some(time).filter(|time| !time.is_zero()));
        let mut number = |key: &str, range: RangeInclusive<f64>, expected: &str| {
            let node = map.get(key)?;
            let number = node.f64()?;
            if !range.contains(&number) {
                node.problem(expected);
            }
            Some(number)
        };
        let randomization_factor =
            number("randomization_factor", 0.0..=1.0, "expected a number from 0 to 1")
                .unwrap_or(default.randomization_factor);
        let multiplier = number("multiplier", 1.0..=f64::MAX, "expected a number of at least 1")
            .unwrap_or(default.multiplier);
        map.warn_unknown();
        Some(Self {
            enabled,
            initial_interval,
            randomization_factor,
            multiplier,
            max_interval,
            max_elapsed_time,
        })
    }
}
