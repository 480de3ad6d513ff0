//! Measures one decision among a million keys, from a header map to the verdict. `cargo xtask bench
//! verdict` runs this program beside the one for fixed tokens.
//!
//! Every key has been used once before it is measured, because the first use of a key allocates the
//! counter of that key. The peers `sha256_block` and `dram_loads` are yardsticks: see
//! [`yardstick`].

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../otlp-auth/benches/measure/mod.rs"]
mod measure;
mod yardstick;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use ingestion_api::IngestionKey;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::{SystemClock, Timestamp};
use ingestion_keys::store::{Change, KeyState, MemoryStore};
use ingestion_keys::{KeyDigest, KeyId, KeyRole};
use otlp_auth::server::{CredentialExtractor, InMemoryAuthenticator};
use otlp_auth::{Decision, Verdict};

use measure::{timed, timed_with};
use yardstick::{DramLoads, sha256_block};

const KEYS: u64 = 1_000_000;

/// The number of keys that a case with hot keys presents in turn.
const HOT: u64 = 64;

/// The number of key changes per second while [`churn`] measures decisions.
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

    // Gives the keys in another order than that in which they were added.
    let shuffled = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    let hot: Vec<_> =
        (0..HOT).map(|part| headers(&key((2 * part + 1) * KEYS / (2 * HOT)))).collect();
    case("ring_1m_hot", &cache, &hot, true, None);
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let busy: Vec<_> = (0..=cores).map(|part| headers(&key(KEYS / 3 + part))).collect();
    // Uses these keys so often that the next flush finds them busy, and gives each of these keys
    // one counter per core.
    for headers in &busy {
        assert!((0..2000).all(|_| allows(&cache, headers)));
    }
    runtime.block_on(cache.flush_usage(&store)).unwrap();
    all_cores("ring_one_key_all_cores", &cache, &busy[0], &busy[1..]);

    let mut loads = DramLoads::new();
    let random: Vec<_> = (0..KEYS).map(|number| headers(&key(shuffled(number)))).collect();
    case("ring_1m_random", &cache, &random, true, Some(&mut loads));
    churn("ring_1m_churn", &cache, &random);
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

/// Measures decisions on the headers in `presented`, one after the other. Measures the yardsticks
/// of the case in turn with the decisions. `loads` is given if a decision waits for memory.
fn case(
    name: &str,
    cache: &KeyCache,
    presented: &[HeaderMap],
    allowed: bool,
    loads: Option<&mut DramLoads>,
) {
    for headers in presented {
        // Checks the verdict, because the time of a wrong decision would be worthless.
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

/// Measures decisions while another thread creates and deletes keys. The peer `quiet` is the same
/// loop while no key changes. The batches of the two loops alternate.
///
/// Both loops are measured in wall-clock time, because the processor time of a thread does not
/// contain the time that the thread sleeps on a lock. The wall clock also counts the time slices
/// that other programs get. Such a slice is as likely in a batch of one loop as in a batch of the
/// other loop.
fn churn(name: &str, cache: &KeyCache, presented: &[HeaderMap]) {
    let (done, changing) = (AtomicBool::new(false), AtomicBool::new(true));
    let start = Instant::now();
    // Both loops take keys from one iterator. If each began with the first key, one loop would find
    // the other loop's keys in the processor's caches.
    let next = RefCell::new(presented.iter().cycle());
    let operation = || decide(cache, std::hint::black_box(next.borrow_mut().next().unwrap()));
    let wall_clock = || start.elapsed();
    let mut changed = timed_with(operation, wall_clock);
    let mut quiet = timed_with(operation, wall_clock);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Does not use the keys that `ring_unknown` presents afterwards, because those keys
            // must be unknown.
            let mut changes = (2 * KEYS..).flat_map(|number| [live(number), deleted(number)]);
            while !done.load(Ordering::Relaxed) {
                if changing.load(Ordering::Relaxed) {
                    cache.apply(&[changes.next().unwrap()]);
                }
                std::thread::sleep(Duration::from_secs(1) / CHANGES);
            }
        });
        assert!(presented.iter().all(|headers| allows(cache, headers)), "{name}");
        let [ours, quiet] = measure::nanoseconds([
            &mut |calls| {
                changing.store(true, Ordering::Relaxed);
                changed(calls)
            },
            &mut |calls| {
                changing.store(false, Ordering::Relaxed);
                quiet(calls)
            },
        ]);
        done.store(true, Ordering::Relaxed);
        measure::report(name, Some("quiet"), quiet, None);
        measure::report(name, None, ours, None);
    });
}

/// Measures decisions on the key `shared` on all cores at once. The peer `one_core` is the same
/// loop on one core alone. The peer `other_keys` is the loop on all cores at once, where each core
/// has a key of its own. The three loops run batch by batch in turn.
///
/// The clock is the processor time of each thread. It contains the time that a core waits for a
/// cache line that another core writes to. It does not contain the time that a thread sleeps on a
/// lock. It also does not show whether another program occupies a core. In that case, fewer cores
/// decide at the same time, but this is true for `other_keys` too.
fn all_cores(name: &str, cache: &KeyCache, shared: &HeaderMap, own: &[HeaderMap]) {
    const DECISIONS: u32 = 100_000;
    const BATCHES: usize = 15;
    let barrier = Barrier::new(own.len());
    let batches_on = &|core: usize| {
        let batch = |headers: &HeaderMap, takes_part: bool| {
            let mut decisions = timed(|| decide(cache, std::hint::black_box(headers)));
            barrier.wait();
            let time = if takes_part { decisions(DECISIONS) } else { Duration::ZERO };
            time.as_secs_f64() * 1e9 / f64::from(DECISIONS)
        };
        let three = |_| [batch(shared, core == 0), batch(shared, true), batch(&own[core], true)];
        (0..BATCHES).map(three).collect::<Vec<_>>()
    };
    let cores: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..own.len()).map(|core| scope.spawn(move || batches_on(core))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let median_of = |which: usize, running: usize| {
        let sum = |batch: usize| cores.iter().map(|batches| batches[batch][which]).sum::<f64>();
        measure::median((0..BATCHES).map(|batch| sum(batch) / running as f64).collect())
    };
    let [sha256] = measure::nanoseconds([&mut timed(sha256_block)]);
    measure::report(name, Some("sha256_block"), sha256, None);
    measure::report(name, Some("one_core"), median_of(0, 1), None);
    measure::report(name, Some("other_keys"), median_of(2, own.len()), None);
    measure::report(name, None, median_of(1, own.len()), None);
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
        role: KeyRole::Ingestion,
        digest: KeyDigest::of(&IngestionKey::parse(&key(number)).unwrap()),
        state,
    }
}

/// Returns the key with this number. The key is the same in every run.
fn key(number: u64) -> String {
    let mut state = number.wrapping_mul(0xd134_2543_de82_ef95);
    let random = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill_with(|| {
            // One step of the random number generator SplitMix64.
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
