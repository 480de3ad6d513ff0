//! Reports the usage of keys to the gateway.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use ingestion_api::UsageReport;
use tokio::sync::Mutex;

use super::connection::{Gateway, RequestError};
use crate::cache::KeyCache;
use crate::clock::Clock;
use crate::store::UsageBatch;

/// The largest number of keys in one report.
const MAX_KEYS: usize = 100;

/// Sends reports, each of which counts once.
#[derive(Debug)]
pub(super) struct Reporter {
    gateway: Arc<Gateway>,
    clock: Arc<dyn Clock>,
    /// The random id of this process.
    source: String,
    reports: Mutex<Reports>,
    is_failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Reports {
    /// The number of the last report.
    number: u64,
    /// A report that may or may not have arrived. It is sent again with the same number until the
    /// gateway has answered, so that it counts once. Until then, no other report is sent.
    unanswered: Option<UsageReport>,
}

impl Reporter {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let source = format!("{:032x}", u128::from_le_bytes(random));
        let (reports, is_failing) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { gateway, clock, source, reports, is_failing })
    }

    /// Reports the usage since the last report. Usage that cannot be reported now is reported
    /// later, unless this report `is_last`.
    pub(super) async fn report(&self, cache: &KeyCache, is_last: bool) {
        let reported = async {
            self.send_again(&mut *self.reports.lock().await).await?;
            cache.flush_usage_with(MAX_KEYS, is_last, |batch| self.add(batch)).await
        };
        let reported = reported.await;
        let was_failing = self.is_failing.swap(reported.is_err(), Ordering::Relaxed);
        match reported {
            Err(error) if !was_failing => {
                let error: &dyn Error = &error;
                tracing::warn!(error, "the usage of keys cannot be reported: it is kept");
            }
            Ok(()) if was_failing => tracing::info!("the usage of keys can be reported again"),
            _ => {}
        }
    }

    /// Sends a report. If the call returns `Ok`, the report was sent, or will be sent again. If it
    /// returns an error, the usage is still that of the cache.
    async fn add(&self, batch: UsageBatch) -> Result<(), RequestError> {
        let mut reports = self.reports.lock().await;
        self.send_again(&mut reports).await?;
        reports.number += 1;
        let (source, number) = (self.source.clone(), reports.number);
        let keys = batch.usage.into_iter().map(|(id, usage)| usage.into_report(id)).collect();
        reports.unanswered = Some(UsageReport { source, number, timestamp: 0, keys });
        // The report is kept if it fails.
        let _kept = self.send_again(&mut reports).await;
        Ok(())
    }

    /// Sends the report that is not answered.
    async fn send_again(&self, reports: &mut Reports) -> Result<(), RequestError> {
        let Some(report) = &mut reports.unanswered else { return Ok(()) };
        report.timestamp = self.clock.wall().as_millis();
        match self.gateway.report(report).await {
            Ok(()) => {}
            Err(
                error @ RequestError::Refused {
                    status: StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE,
                    ..
                },
            ) => {
                let error: &dyn Error = &error;
                tracing::error!(error, "a report of the usage of keys is refused, and dropped");
            }
            Err(error) => return Err(error),
        }
        reports.unanswered = None;
        Ok(())
    }
}
