//! Measures one decision of a cache with a million keys, from a header map to the verdict. `cargo
//! xtask bench verdict` runs this benchmark and the benchmark of fixed tokens.
//!
//! Every key has been used once before it is measured, because the first use of a key allocates its
//! counters. `sha256_block` and `dram_loads` are measured for comparison: see [`yardstick`].

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../otlp-auth/benches/measure/mod.rs"]
mod measure;
mod yardstick;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use ingestion_api::IngestionKey;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::{SystemClock, Timestamp};
use ingestion_keys::store::{Change, KeyState, MemoryStore};
use ingestion_keys::{KeyDigest, KeyId};
use otlp_auth::server::{CredentialExtractor, InMemoryAuthenticator};
use otlp_auth::{Decision, Verdict};

use measure::timed;
use yardstick::{DramLoads, sha256_block};

const KEYS: u64 = 1_000_000;

/// The number of keys that the cases with hot keys present in turn.
const HOT: u64 = 64;

/// The number of changes per second in the case that measures decisions during changes.
const CHANGES: u32 = 2000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = MemoryStore::new([0; 16]);
    let cache = KeyCache::new(
        Arc::new(SystemClock),
        KeyCacheOptions { max_staleness: Duration::MAX, ..KeyCacheOptions::default() },
    );
    runtime.block_on(cache.catch_up(&store)).unwrap();
    (0..KEYS).for_each(|number| cache.apply(&[live(number)]));

    // The order of these numbers differs from the order in which the keys were added.
    let shuffled = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    let hot: Vec<_> =
        (0..HOT).map(|part| headers(&key((2 * part + 1) * KEYS / (2 * HOT)))).collect();
    case("ring_1m_hot", &cache, &hot, true, None);
    let one = [headers(&key(KEYS / 3))];
    // The flush below finds that this key is busy, and gives the key separate counters for each
    // core.
    for _ in 0..2000 {
        assert!(allows(&cache, &one[0]));
    }
    runtime.block_on(cache.flush_usage(&store)).unwrap();
    all_cores("ring_one_key_all_cores", &cache, &one[0]);

    let mut loads = DramLoads::new();
    let random: Vec<_> = (0..KEYS).map(|number| headers(&key(shuffled(number)))).collect();
    case("ring_1m_random", &cache, &random, true, Some(&mut loads));
    churn("ring_1m_churn", &cache, &random, &mut loads);
    drop(random);

    let unknown: Vec<_> = (KEYS..KEYS + KEYS / 10).map(|number| headers(&key(number))).collect();
    case("ring_unknown", &cache, &unknown, false, Some(&mut loads));
    let mistyped = |number| {
        let key = key(number);
        headers(&format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' }))
    };
    let garbage: Vec<_> = (0..HOT).map(mistyped).collect();
    case("ring_garbage", &cache, &garbage, false, None);
}

/// Measures decisions on the presented headers, one after the other. In the same rounds it measures
/// `sha256_block`, and also `loads` if the case has them. A case has `loads` if its decisions wait
/// for memory.
fn case(
    name: &str,
    cache: &KeyCache,
    presented: &[HeaderMap],
    allowed: bool,
    loads: Option<&mut DramLoads>,
) {
    for headers in presented {
        // A decision has to be right before its time is measured.
        assert_eq!(allows(cache, headers), allowed, "{name}");
    }
    let mut next = presented.iter().cycle();
    let mut operation = || decide(cache, std::hint::black_box(next.next().unwrap()));
    let allocations = measure::allocations(&mut operation);
    let (mut ours, mut sha256) = (timed(operation), timed(sha256_block));
    let (ours, sha256) = match loads {
        Some(loads) => {
            let [ours, sha256, loads] =
                measure::nanoseconds([&mut ours, &mut sha256, &mut timed(|| loads.three())]);
            measure::report(name, Some("dram_loads"), loads, None);
            (ours, sha256)
        }
        None => measure::nanoseconds([&mut ours, &mut sha256]).into(),
    };
    measure::report(name, Some("sha256_block"), sha256, None);
    measure::report(name, None, ours, allocations);
}

/// Measures the same as [`case`] while another thread creates and deletes keys.
fn churn(name: &str, cache: &KeyCache, presented: &[HeaderMap], loads: &mut DramLoads) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // These keys are not the keys that `ring_unknown` presents later, because the cache
            // must not know those.
            for number in (2 * KEYS..).take_while(|_| !done.load(Ordering::Relaxed)) {
                cache.apply(&[live(number)]);
                std::thread::sleep(Duration::from_secs(1) / CHANGES);
                cache.apply(&[deleted(number)]);
                std::thread::sleep(Duration::from_secs(1) / CHANGES);
            }
        });
        case(name, cache, presented, true, Some(loads));
        done.store(true, Ordering::Relaxed);
    });
}

/// Measures a decision on one key, first on one core, and then on all cores at the same time. The
/// processor time of a thread includes the time in which it waits for a cache line that another
/// core writes to.
fn all_cores(name: &str, cache: &KeyCache, presented: &HeaderMap) {
    const DECISIONS: u32 = 2_000_000;
    let alone_and_together =
        [1, std::thread::available_parallelism().unwrap().get()].map(|cores| {
            let barrier = Barrier::new(cores);
            let decide_on_and_on = || {
                let mut decisions = timed(|| decide(cache, std::hint::black_box(presented)));
                barrier.wait();
                decisions(DECISIONS).as_secs_f64() * 1e9 / f64::from(DECISIONS)
            };
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..cores).map(|_| scope.spawn(decide_on_and_on)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>() / cores as f64
            })
        });
    let [alone, together] = alone_and_together;
    let [sha256] = measure::nanoseconds([&mut timed(sha256_block)]);
    measure::report(name, Some("sha256_block"), sha256, None);
    measure::report(name, Some("one_core"), alone, None);
    measure::report(name, None, together, None);
}

fn decide(cache: &KeyCache, headers: &HeaderMap) -> Verdict {
    thread_local! {
        static EXTRACTOR: (CredentialExtractor, Uri) = (CredentialExtractor::default(), Uri::from_static("/v1/traces"));
    }
    EXTRACTOR.with(|(extractor, uri)| match extractor.extract(headers, uri) {
        Ok(credential) => cache.decide(&credential),
        Err(reason) => Ok(Decision::Deny(reason.into())),
    })
}

fn allows(cache: &KeyCache, headers: &HeaderMap) -> bool {
    matches!(decide(cache, headers), Ok(Decision::Allow(_)))
}

fn live(number: u64) -> Change {
    change(
        number,
        1,
        KeyState::Live { name: format!("sender-{number}"), expires_at: None, enabled: true },
    )
}

fn deleted(number: u64) -> Change {
    change(number, 2, KeyState::Deleted { at: Timestamp::from_millis(i64::MAX) })
}

fn change(number: u64, revision: i64, state: KeyState) -> Change {
    let id = KeyId::new(number as i64 + 1).unwrap();
    Change {
        revision,
        id,
        digest: KeyDigest::of(&IngestionKey::parse(&key(number)).unwrap()),
        state,
    }
}

/// Makes the key with this number. The key is the same in every run.
fn key(number: u64) -> String {
    let mut state = number.wrapping_mul(0xd134_2543_de82_ef95);
    let random = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill_with(|| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u8
        });
        Ok(())
    };
    let Ok(key) = IngestionKey::generate(random);
    key.expose_secret().to_owned()
}

fn headers(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("StackState {token}")).unwrap(),
    )])
}
