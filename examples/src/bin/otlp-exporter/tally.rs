//! Counts which batches were sent and which failed.

use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use otlp_auth_examples::{Signal, print_line};

/// One tally for each signal.
#[derive(Clone, Debug)]
pub(crate) struct Tallies([Arc<Tally>; 3]);

/// The number of items of a signal that were sent, and the number that could not be sent.
#[derive(Debug)]
pub(crate) struct Tally {
    signal: Signal,
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    /// The number of items that are being sent.
    pending: usize,
    round: Count,
    total: Count,
}

#[derive(Debug, Default)]
struct Count {
    sent: usize,
    failed: usize,
}

impl Default for Tallies {
    fn default() -> Self {
        let tally =
            |signal| Arc::new(Tally { signal, counts: Mutex::default(), changed: Condvar::new() });
        Self([Signal::Metrics, Signal::Logs, Signal::Traces].map(tally))
    }
}

impl Tallies {
    pub(crate) fn of(&self, signal: Signal) -> Arc<Tally> {
        let [metrics, logs, traces] = &self.0;
        Arc::clone(match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        })
    }

    /// Prints the counts since the last call.
    pub(crate) fn print_round(&self) {
        for tally in &self.0 {
            let (signal, Count { sent, failed }) =
                (tally.signal, std::mem::take(&mut tally.counts().round));
            if failed > 0 {
                print_line(format_args!("failed signal={signal} items={failed}"));
            }
            if sent > 0 || failed == 0 {
                print_line(format_args!("sent signal={signal} items={sent}"));
            }
        }
    }

    /// Prints the total counts and returns the exit code. The code means failure if items failed.
    /// Items that are still being sent count as failed.
    pub(crate) fn print_totals(&self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for tally in &self.0 {
            let counts = tally.counts();
            let (signal, sent, failed) =
                (tally.signal, counts.total.sent, counts.total.failed + counts.pending);
            print_line(format_args!("total signal={signal} sent={sent} failed={failed}"));
            if failed > 0 {
                code = ExitCode::FAILURE;
            }
        }
        code
    }
}

impl Tally {
    /// Flushes a batch processor that received `items` in this round. The processor waits at most 5
    /// s for its exporter, but the exporter may retry for longer.
    pub(crate) fn flush(&self, items: usize, force_flush: impl Fn() -> OTelSdkResult) {
        while force_flush().is_err() {
            let waiting = |counts: &mut Counts| counts.round.sent + counts.round.failed < items;
            let waited =
                self.changed.wait_timeout_while(self.counts(), Duration::from_secs(1), waiting);
            if !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                break;
            }
        }
    }

    async fn record(
        &self,
        items: usize,
        export: impl Future<Output = OTelSdkResult>,
    ) -> OTelSdkResult {
        self.counts().pending += items;
        let result = export.await;
        let counts = &mut *self.counts();
        counts.pending -= items;
        for count in [&mut counts.round, &mut counts.total] {
            match result {
                Ok(()) => count.sent += items,
                Err(_) => count.failed += items,
            }
        }
        self.changed.notify_all();
        result
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exporter whose batches are counted.
pub(crate) struct Counted<E> {
    exporter: E,
    tally: Arc<Tally>,
}

impl<E> Counted<E> {
    pub(crate) fn new(exporter: E, tally: Arc<Tally>) -> Self {
        Self { exporter, tally }
    }
}

impl<E> fmt::Debug for Counted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.tally.record(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.tally.record(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let items = data_points(metrics);
        if items == 0 {
            // At shutdown the SDK collects metrics again, although nothing new was observed. Such a
            // batch is empty and is not sent.
            return Ok(());
        }
        self.tally.record(items, self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

fn data_points(metrics: &ResourceMetrics) -> usize {
    fn count<T>(data: &MetricData<T>) -> usize {
        match data {
            MetricData::Gauge(gauge) => gauge.data_points().count(),
            MetricData::Sum(sum) => sum.data_points().count(),
            MetricData::Histogram(histogram) => histogram.data_points().count(),
            MetricData::ExponentialHistogram(histogram) => histogram.data_points().count(),
        }
    }
    let metrics = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    metrics
        .map(|metric| match metric.data() {
            AggregatedMetrics::F64(data) => count(data),
            AggregatedMetrics::U64(data) => count(data),
            AggregatedMetrics::I64(data) => count(data),
        })
        .sum()
}
