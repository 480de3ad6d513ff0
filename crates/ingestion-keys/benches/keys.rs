//! A store of a million keys: how long until a ring has them, how much memory that takes, how long a change takes. `cargo xtask bench keys` runs it.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ingestion_api::{AuditAction, GenerateRequest, IngestionKey};
use ingestion_keys::clock::{Clock, SystemClock};
use ingestion_keys::entropy::{Entropy, SystemEntropy};
use ingestion_keys::ring::{Ring, RingOptions};
use ingestion_keys::service::KeyService;
use ingestion_keys::store::{AuditNote, Commit, KeyStore, SqliteOptions, SqliteStore, Write};
use ingestion_keys::{KeyDigest, KeyId, KeyRecord};

/// Keys of one change while the store is filled.
const AT_ONCE: i64 = 10_000;

/// Keys created for a percentile.
const CREATED: usize = 1000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // The measured start is that of a process of its own, whose memory nobody used before.
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(path) = arguments.iter().skip_while(|argument| *argument != "ready").nth(1) {
        return runtime.block_on(ready(Path::new(path)));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    runtime.block_on(async {
        fill(&path("1k.db"), 1000).await;
        fill(&path("10k.db"), 10_000).await;
        fill(&path("1m.db"), 1_000_000).await;
    });
    let status = std::process::Command::new(std::env::current_exe().unwrap()).arg("ready").arg(path("1m.db")).status().unwrap();
    assert!(status.success());
    runtime.block_on(async {
        create("create_p99_1k", &path("1k.db")).await;
        create("create_p99_1m", &path("1m.db")).await;
        list("list_10k", &path("10k.db")).await;
    });
}

/// Makes a store of this many keys.
async fn fill(path: &Path, keys: i64) {
    let store = open(path);
    for first in (1..=keys).step_by(AT_ONCE as usize) {
        let records: Vec<_> = (first..=keys.min(first + AT_ONCE - 1)).map(record).collect();
        let audit = AuditNote {
            action: AuditAction::Create,
            key_id: records[0].id,
            key_name: records[0].name.clone(),
            other_key_id: None,
            changes: Vec::new(),
        };
        let writes = records.into_iter().map(Write::Insert).collect();
        let commit = Commit { change_id: [1; 16], at: SystemClock.wall(), who: "benchmark".to_owned(), audit, writes };
        store.commit(commit).await.unwrap();
    }
}

/// From opening the store to the first decision that is no "undecided", and the memory that it takes then.
async fn ready(path: &Path) {
    let start = Instant::now();
    let store = open(path);
    let ring = ring();
    ring.catch_up(&store).await.unwrap();
    assert_eq!(ring.len(), 1_000_000);
    report("ready_1m", start.elapsed().as_secs_f64());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes: f64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).unwrap();
    report("rss_1m", kilobytes / 1024.0);
}

/// The 99th percentile of creating a key, in milliseconds.
async fn create(name: &str, path: &Path) {
    let service = service(path).await;
    let mut samples = Vec::with_capacity(CREATED);
    for number in 0..CREATED {
        let request = GenerateRequest { name: format!("created-{number}"), ..GenerateRequest::default() };
        let start = Instant::now();
        service.create("benchmark", request).await.unwrap();
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    samples.sort_by(f64::total_cmp);
    report(name, samples[CREATED * 99 / 100]);
}

/// Listing all keys, in seconds.
async fn list(name: &str, path: &Path) {
    let service = service(path).await;
    let start = Instant::now();
    assert_eq!(service.list().await.unwrap().len(), 10_000);
    report(name, start.elapsed().as_secs_f64());
}

/// As the other benchmarks do: one JSON object a line.
fn report(case: &str, value: f64) {
    println!(r#"{{"case":"{case}","value":{value:.4},"allocations":null}}"#);
}

async fn service(path: &Path) -> KeyService {
    let (store, ring) = (Arc::new(open(path)), Arc::new(ring()));
    ring.catch_up(&*store).await.unwrap();
    KeyService::new(store, ring, Arc::new(SystemClock), Arc::new(SystemEntropy))
}

fn ring() -> Ring {
    Ring::new(Arc::new(SystemClock), RingOptions::default())
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(&SqliteOptions::new(path)).unwrap()
}

fn record(number: i64) -> KeyRecord {
    let key = IngestionKey::generate(|bytes| SystemEntropy.fill(bytes)).unwrap();
    let now = SystemClock.wall();
    KeyRecord {
        // Spread over all ids, as random ones are.
        id: KeyId::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) & (KeyId::END - 1)).unwrap(),
        digest: KeyDigest::of(&key),
        key_start: key.start().to_owned(),
        name: format!("sender-{number}"),
        description: None,
        created_at: now,
        updated_at: now,
        expires_at: None,
        enabled: true,
        successor: None,
        revision: 0,
    }
}
