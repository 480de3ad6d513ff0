//! The debug exporter receives telemetry in place of an upstream. It counts the telemetry, prints
//! the counts and discards the content.

mod summary;

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::Identity;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::summary::Summary;
use crate::item::Item;
use crate::lossy_output::LossyOutput;

/// The warning that is logged at the start and shown by `/readyz`.
pub(crate) const DISCARDS: &str = "what has no upstream is decoded, counted, printed and discarded";

/// Counts telemetry for a metric, and for a line on standard output each second.
#[derive(Debug)]
pub(crate) struct DebugExporter {
    since_last_line: Mutex<Summary>,
    items: Counter<u64>,
    /// Cancelled when no more telemetry arrives.
    stop: CancellationToken,
}

impl DebugExporter {
    pub(crate) fn new(meter: &Meter) -> Self {
        let items = meter.u64_counter("ingestion.debug.items").with_unit("{item}");
        let items = items.with_description("Telemetry that was received and discarded").build();
        Self { since_last_line: Mutex::default(), items, stop: CancellationToken::new() }
    }

    /// Counts `count` items that the sender `identity` has sent.
    pub(crate) fn export(&self, identity: &Identity, item: Item, count: usize) {
        let count = count as u64;
        // A sender cannot cause unlimited attribute values: only allowed keys get here, and the SDK
        // limits the number of series.
        let key = identity.id().map_or_else(|| identity.name().to_owned(), |id| id.to_string());
        self.items
            .add(count, &[KeyValue::new("item", item.as_str()), KeyValue::new("key.id", key)]);
        self.lock().add(identity, item, count);
    }

    /// Lets [`print`](Self::print) end with a line for what has arrived until now.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Prints a line for each second in which telemetry arrived, until [`stop`](Self::stop) is
    /// called. Returns when the last line is written.
    pub(crate) async fn print(&self) {
        // Standard output may be a pipe that nobody reads, so writing must not block.
        // A gateway that discards nothing has no thread for it.
        let mut output = None::<LossyOutput>;
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = seconds.tick() => {}
                () = self.stop.cancelled() => {}
            }
            // What arrived before the stop is in the summary that is taken after this look.
            let is_last = self.stop.is_cancelled();
            let summary = std::mem::take(&mut *self.lock());
            if !summary.is_empty() {
                let output = output.get_or_insert_with(|| LossyOutput::new("debug", io::stdout()));
                // Writing to a lossy output does not fail.
                let _ = output.write_all(format!("{summary}\n").as_bytes());
            }
            if let Some(output) = &mut output {
                output.report_dropped_lines();
            }
            if is_last {
                break;
            }
        }
        // Dropping the output waits until its lines are written. This wait must not occupy a thread
        // of the runtime.
        let _ = tokio::task::spawn_blocking(move || drop(output)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Summary> {
        self.since_last_line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
