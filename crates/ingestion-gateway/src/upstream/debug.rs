//! The debug receiver: where telemetry goes while there is no upstream. It is counted, printed and
//! discarded.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::Identity;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::telemetry::lossy_output::LossyOutput;

/// Said at the start and by `/readyz`.
pub(crate) const DISCARDS: &str =
    "no upstream is configured: what is received is decoded, counted, printed and discarded";

/// Keys of a line; more would not be read.
const SHOWN_KEYS: usize = 5;

/// What telemetry is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Span,
    DataPoint,
    LogRecord,
    /// What agents send is not decoded.
    AgentRequest,
}

impl Item {
    const ALL: [Self; 4] = [Self::Span, Self::DataPoint, Self::LogRecord, Self::AgentRequest];

    fn as_str(self) -> &'static str {
        match self {
            Self::Span => "spans",
            Self::DataPoint => "data_points",
            Self::LogRecord => "log_records",
            Self::AgentRequest => "agent_requests",
        }
    }
}

/// Counts what it is given.
#[derive(Debug)]
pub(crate) struct DebugReceiver {
    since_last_line: Mutex<Counts>,
    items: Counter<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    by_item: [u64; Item::ALL.len()],
    by_key: HashMap<Identity, u64>,
}

impl DebugReceiver {
    pub(crate) fn new(meter: &Meter) -> Self {
        let items = meter.u64_counter("ingestion.debug.items").with_unit("{item}");
        let items = items.with_description("Telemetry that was received and discarded").build();
        Self { since_last_line: Mutex::default(), items }
    }

    /// Takes what a sender delivered.
    pub(crate) fn discard(&self, identity: &Identity, item: Item, count: usize) {
        let count = count as u64;
        // The number of keys is bounded by those that are let in, and their number by the SDK.
        let key = identity.id().map_or_else(|| identity.name().to_owned(), |id| id.to_string());
        self.items
            .add(count, &[KeyValue::new("item", item.as_str()), KeyValue::new("key.id", key)]);
        let mut counts = self.lock();
        counts.by_item[item as usize] += count;
        *counts.by_key.entry(identity.clone()).or_default() += count;
    }

    /// Prints one line a second while there is something to tell, until it is told to stop.
    pub(crate) async fn print(&self, stop: &CancellationToken) {
        // Standard output may be a pipe that nobody reads.
        let mut output = LossyOutput::new("debug", io::stdout());
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! {
                _ = seconds.tick() => {}
                () = stop.cancelled() => {}
            }
            let counts = std::mem::take(&mut *self.lock());
            if !counts.by_key.is_empty() {
                // Writing to a lossy output does not fail.
                let _ = output.write_all(format!("{counts}\n").as_bytes());
            }
            output.report_dropped_lines();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.since_last_line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("discarded")?;
        for item in Item::ALL {
            match self.by_item[item as usize] {
                0 => {}
                count => write!(f, " {}={count}", item.as_str())?,
            }
        }
        f.write_str(" from")?;
        let mut keys: Vec<_> = self.by_key.iter().collect();
        keys.sort_by_key(|(identity, count)| (std::cmp::Reverse(**count), identity.id()));
        for (identity, count) in keys.iter().take(SHOWN_KEYS) {
            // A name is whatever somebody typed.
            write!(f, " {:?}", identity.name())?;
            if let Some(id) = identity.id() {
                write!(f, "({id})")?;
            }
            write!(f, "={count}")?;
        }
        match keys.len().saturating_sub(SHOWN_KEYS) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: seven keys sent telemetry of two kinds within one line.
    // Guarantee: sums by kind, the busiest keys first, names escaped, and how many more there are.
    #[test]
    fn a_line_tells_what_was_discarded() {
        let mut counts = Counts { by_item: [30, 0, 1, 0], by_key: HashMap::new() };
        for (id, count) in (1..=7).zip([1, 9, 8, 7, 6, 5, 4]) {
            counts.by_key.insert(Identity::with_handle(format!("k\n{id}"), id, ()), count);
        }
        let line = counts.to_string();
        assert_eq!(
            line,
            r#"discarded spans=30 log_records=1 from "k\n2"(2)=9 "k\n3"(3)=8 "k\n4"(4)=7 "k\n5"(5)=6 "k\n6"(6)=5 and 2 more"#
        );
    }
}
