//! Reports of usage, each of which counts once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ingestion_api::UsageReport;
use ingestion_keys::cache::{KeyCache, TooMuchUsage};
use ingestion_keys::clock::{Clock, Timestamp};
use ingestion_keys::{KeyId, NotPossible, Usage};

use crate::config::UsageConfig;

/// The largest number of keys in a report. A follower sends more of them in several reports.
const MAX_KEYS: usize = 100;

/// The largest number of clients of a key in a report. No cache keeps more of them.
const MAX_CLIENTS: usize = UsageConfig::MAX_SOURCES as usize;

/// The largest number of processes with the same token whose reports are remembered.
const MAX_SOURCES: usize = 10_000;

/// A process that has not reported for this long may be forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// A report was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReportError {
    /// The source is not 32 hexadecimal digits.
    #[error("`source`: expected 32 hexadecimal digits")]
    Source,
    /// There are too many keys.
    #[error("`keys`: more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// There are too many clients of a key.
    #[error("`sources`: more than {MAX_CLIENTS} sources of a key")]
    TooManyClients,
    /// An id or an address is not possible.
    #[error("`keys`: an id or an address is not possible")]
    NotPossible(#[from] NotPossible),
    /// Too many processes report usage.
    #[error("too many processes report usage with this token")]
    TooManySources,
    /// The store could not be written for long.
    #[error("usage that was reported before could not be written yet")]
    TooMuchUsage(#[from] TooMuchUsage),
}

/// The number of the last report of each process. A report that is sent again, because its answer
/// was lost, is not counted again. The numbers and the usage that is not written yet are lost
/// together when the gateway is killed. Each token has its own processes, so that whoever has one
/// token neither uses up the memory for another one, nor reports in the name of its processes.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<HashMap<Option<u64>, HashMap<u128, Last>>>);

#[derive(Clone, Copy, Debug)]
struct Last {
    number: u64,
    at: Duration,
}

impl Reports {
    /// Adds the usage in a report, which came with the token that has this id, to the usage in
    /// `cache`, unless it was added before.
    pub(super) fn add(
        &self,
        token: Option<u64>,
        report: UsageReport,
        cache: &KeyCache,
        clock: &dyn Clock,
    ) -> Result<(), ReportError> {
        let source = source(&report.source).ok_or(ReportError::Source)?;
        if report.keys.len() > MAX_KEYS {
            return Err(ReportError::TooManyKeys);
        }
        if report.keys.iter().any(|key| key.sources.len() > MAX_CLIENTS) {
            return Err(ReportError::TooManyClients);
        }
        let (now, sent) = (clock.wall(), Timestamp::from_millis(report.timestamp));
        let mut usage =
            report.keys.into_iter().map(Usage::from_report).collect::<Result<Vec<_>, _>>()?;
        usage.iter_mut().for_each(|usage| correct(usage, now, sent));
        let last = Last { number: report.number, at: clock.monotonic() };
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = reports.entry(token).or_default();
        if reports.get(&source).is_some_and(|before| before.number >= report.number) {
            return Ok(());
        }
        if reports.len() >= MAX_SOURCES && !reports.contains_key(&source) {
            let is_recent = |before: Duration| last.at.saturating_sub(before) < FORGOTTEN_AFTER;
            reports.retain(|_, before| is_recent(before.at));
            if reports.len() >= MAX_SOURCES {
                return Err(ReportError::TooManySources);
            }
        }
        cache.report_usage(usage)?;
        reports.insert(source, last);
        Ok(())
    }
}

fn source(text: &str) -> Option<u128> {
    let is_hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Converts the times in a usage from the clock of a process to the clock of this gateway.
fn correct((_, usage): &mut (KeyId, Usage), now: Timestamp, sent: Timestamp) {
    let corrected = |at: Timestamp| now.saturating_sub(sent.since(at));
    usage.last_used_at = usage.last_used_at.map(corrected);
    for client in &mut usage.clients {
        client.last_used_at = corrected(client.last_used_at);
    }
}
