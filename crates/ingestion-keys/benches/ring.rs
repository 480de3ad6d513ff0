//! One decision of a ring of a million keys, from a header map to the verdict. `cargo xtask bench
//! verdict` runs it beside fixed tokens.
//!
//! Every key has been used once before, so that its usage is counted.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../otlp-auth/benches/measure/mod.rs"]
mod measure;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use ingestion_api::IngestionKey;
use ingestion_keys::clock::{SystemClock, Timestamp};
use ingestion_keys::ring::{Ring, RingOptions};
use ingestion_keys::store::{Change, KeyState, MemoryStore};
use ingestion_keys::{KeyDigest, KeyId};
use otlp_auth::server::{InMemoryAuthenticator, Lookup};
use otlp_auth::{Decision, Verdict};

const KEYS: u64 = 1_000_000;

/// Keys presented in turn where they are hot.
const HOT: u64 = 64;

/// Changes a second while the ring is changed.
const CHANGES: u32 = 2000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = MemoryStore::new([0; 16]);
    let ring = Ring::new(
        Arc::new(SystemClock),
        RingOptions { max_staleness: Duration::MAX, ..RingOptions::default() },
    );
    runtime.block_on(ring.catch_up(&store)).unwrap();
    (0..KEYS).for_each(|number| ring.apply(&[live(number)]));

    // Any order that is not that in which they came.
    let shuffled = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    let hot: Vec<_> =
        (0..HOT).map(|part| headers(&key((2 * part + 1) * KEYS / (2 * HOT)))).collect();
    case("ring_1m_hot", &ring, &hot, Some(true));
    let one = [headers(&key(KEYS / 3))];
    // As busy keys are found: by what is flushed.
    for _ in 0..2000 {
        assert!(allows(&ring, &one[0]));
    }
    runtime.block_on(ring.flush_usage(&store)).unwrap();
    all_cores("ring_one_key_all_cores", &ring, &one[0]);

    let random: Vec<_> = (0..KEYS).map(|number| headers(&key(shuffled(number)))).collect();
    case("ring_1m_random", &ring, &random, Some(true));
    churn("ring_1m_churn", &ring, &random);
    drop(random);

    let unknown: Vec<_> = (KEYS..KEYS + KEYS / 10).map(|number| headers(&key(number))).collect();
    case("ring_unknown", &ring, &unknown, Some(false));
    let mistyped = |number| {
        let key = key(number);
        headers(&format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' }))
    };
    let garbage: Vec<_> = (0..HOT).map(mistyped).collect();
    case("ring_garbage", &ring, &garbage, Some(false));
}

/// Measures decisions on what is presented, one after the other; a fast wrong answer is no result.
fn case(name: &str, ring: &Ring, presented: &[HeaderMap], allowed: Option<bool>) {
    for headers in presented {
        assert!(allowed.is_none_or(|allowed| allows(ring, headers) == allowed), "{name}");
    }
    let mut next = presented.iter().cycle();
    let mut operation = || decide(ring, std::hint::black_box(next.next().unwrap()));
    let allocations = measure::allocations(&mut operation);
    measure::report(name, None, measure::nanoseconds(operation), allocations);
}

/// As [`case`], while another thread creates and deletes keys.
fn churn(name: &str, ring: &Ring, presented: &[HeaderMap]) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (KEYS..).take_while(|_| !done.load(Ordering::Relaxed)) {
                ring.apply(&[live(number)]);
                std::thread::sleep(Duration::from_secs(1) / CHANGES);
                ring.apply(&[deleted(number)]);
                std::thread::sleep(Duration::from_secs(1) / CHANGES);
            }
        });
        case(name, ring, presented, Some(true));
        done.store(true, Ordering::Relaxed);
    });
}

/// The same key on one core, and then on all at once: what a decision takes on each. In the time of
/// the processor, so that others who use the machine do not count; waiting for a cache line does.
fn all_cores(name: &str, ring: &Ring, presented: &HeaderMap) {
    const DECISIONS: u32 = 2_000_000;
    let alone_and_together =
        [1, std::thread::available_parallelism().unwrap().get()].map(|cores| {
            let barrier = Barrier::new(cores);
            let decide_on_and_on = || {
                barrier.wait();
                let start = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                for _ in 0..DECISIONS {
                    let _verdict =
                        std::hint::black_box(decide(ring, std::hint::black_box(presented)));
                }
                let end = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                ((end.tv_sec - start.tv_sec) as f64 * 1e9 + (end.tv_nsec - start.tv_nsec) as f64)
                    / f64::from(DECISIONS)
            };
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..cores).map(|_| scope.spawn(decide_on_and_on)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>() / cores as f64
            })
        });
    let [alone, together] = alone_and_together;
    measure::report(name, Some("one_core"), alone, None);
    measure::report(name, None, together, None);
}

fn decide(ring: &Ring, headers: &HeaderMap) -> Verdict {
    thread_local! {
        static LOOKUP: (Lookup, Uri) = (Lookup::default(), Uri::from_static("/v1/traces"));
    }
    LOOKUP.with(|(lookup, uri)| match lookup.find(headers, uri) {
        Ok(credential) => ring.decide(&credential),
        Err(reason) => Ok(Decision::Deny(reason.into())),
    })
}

fn allows(ring: &Ring, headers: &HeaderMap) -> bool {
    matches!(decide(ring, headers), Ok(Decision::Allow(_)))
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

/// The key of this number, the same in every run.
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
