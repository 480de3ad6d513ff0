//! The metrics of keys. They are read from the cache of keys when somebody asks for them, so that
//! they cost a request nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ingestion_keys::cache::{KeyCache, UsageTotal};
use ingestion_keys::store::KeyStore;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// The name of the shared receiver API key.
const RECEIVER: &str = "receiver";

/// The requests with the shared receiver API key, which is not in the cache of keys.
#[derive(Debug, Default)]
pub(crate) struct SharedKeyUse {
    accepted: AtomicU64,
    failed: AtomicU64,
}

impl SharedKeyUse {
    /// Counts the answer to a request.
    pub(crate) fn add_answer(&self, success: bool) {
        let counter = if success { &self.accepted } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Registers the metrics of keys with `meter`.
pub(crate) fn observe(
    cache: &Arc<KeyCache>,
    store: &dyn KeyStore,
    shared: Arc<SharedKeyUse>,
    meter: &Meter,
) {
    let keys = meter.u64_observable_gauge("ingestion.keys").with_unit("{key}");
    let of = Arc::clone(cache);
    keys.with_description("Keys in memory, expired and disabled ones included")
        .with_callback(move |gauge| gauge.observe(of.len() as u64, &[]))
        .build();
    let age = meter.f64_observable_gauge("ingestion.keys.age").with_unit("s");
    let of = Arc::clone(cache);
    age.with_description("Time since the key store was last read with success")
        .with_callback(move |gauge| {
            if let Some(age) = of.age() {
                gauge.observe(age.as_secs_f64(), &[]);
            }
        })
        .build();
    let lag = meter.u64_observable_gauge("ingestion.keys.lag").with_unit("{revision}");
    let (of, newest) = (Arc::clone(cache), store.revision());
    lag.with_description("Changes that the key store told of and that are not in memory yet")
        .with_callback(move |gauge| {
            if let Some(revision) = of.revision() {
                // A store that was restored from a backup has a smaller revision than the keys.
                let lag = newest.borrow().saturating_sub(revision);
                gauge.observe(u64::try_from(lag).unwrap_or_default(), &[]);
            }
        })
        .build();
    let requests = meter.u64_observable_counter("ingestion.key.requests").with_unit("{request}");
    let of = Arc::clone(cache);
    requests
        .with_description("Allowed requests, by their answers")
        .with_callback(move |counter| {
            let of_shared = UsageTotal {
                accepted: shared.accepted.load(Ordering::Relaxed),
                failed: shared.failed.load(Ordering::Relaxed),
                ..UsageTotal::default()
            };
            each_key(&of, Some(of_shared), |key, total| {
                for (outcome, count) in [("accepted", total.accepted), ("failed", total.failed)] {
                    if count > 0 {
                        let outcome = KeyValue::new("outcome", outcome);
                        counter.observe(count, &[key.clone(), outcome]);
                    }
                }
            });
        })
        .build();
    let bytes = meter.u64_observable_counter("ingestion.key.received").with_unit("By");
    let of = Arc::clone(cache);
    bytes
        .with_description("Bytes of the bodies of allowed requests, as they came")
        .with_callback(move |counter| {
            each_key(&of, None, |key, total| {
                if total.bytes > 0 {
                    counter.observe(total.bytes, std::slice::from_ref(key));
                }
            });
        })
        .build();
}

/// Calls `observe` for each key that is told apart, for the shared key, and then for the sum of all
/// other keys.
fn each_key(
    cache: &KeyCache,
    shared: Option<UsageTotal>,
    mut observe: impl FnMut(&KeyValue, &UsageTotal),
) {
    let totals = cache.usage_totals();
    for (id, total) in &totals.keys {
        observe(&KeyValue::new("key.id", id.get().to_string()), total);
    }
    if let Some(shared) = shared {
        observe(&KeyValue::new("key.id", RECEIVER), &shared);
    }
    observe(&KeyValue::new("otel.metric.overflow", true), &totals.others);
}
