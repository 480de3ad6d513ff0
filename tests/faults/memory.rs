//! The memory that a sender without a key can make the gateway use.

use std::thread;

use ingestion_api::IngestionKey;

use crate::gateway::{Gateway, TestEnv};
use crate::keys::Keys;

/// The number of unknown keys that are sent. They have the right format and checksum.
const JUNK: usize = 1_000_000;

/// The number of senders that send at the same time. Each of two listeners gets half of the
/// senders.
const SENDERS: usize = 4;

/// The number of keys that a sender sends before it reads the responses.
const BATCH: usize = 1000;

/// The number of bytes that a key would take if the gateway stored its digest.
const REMEMBERED: usize = 32;

// Scenario: a million unknown keys are sent to an OTLP listener and to the authorize endpoint. The
// memory is measured after the first 50,000 keys and after the last one.
// Guarantee: each key is refused. The memory grows by less than the size of the digests of all
// keys.
#[test]
fn a_million_keys_of_nobody() {
    let env = TestEnv::new(&[]);
    let gateway = env.start();
    let keys = Keys::create(&mut gateway.caller());
    send_junk(&gateway, JUNK / 20);
    let before = gateway.memory("VmRSS");
    send_junk(&gateway, JUNK);
    let after = gateway.memory("VmRSS");
    assert!(after < before + JUNK * REMEMBERED, "{before} bytes before, {after} after");
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

fn send_junk(gateway: &Gateway, count: usize) {
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let mut caller = gateway.caller();
            scope.spawn(move || {
                for _ in 0..count / SENDERS / BATCH {
                    let junk: Vec<_> = (0..BATCH).map(|_| junk()).collect();
                    let junk: Vec<_> = junk.iter().map(IngestionKey::expose_secret).collect();
                    let (statuses, refused) = if sender % 2 == 0 {
                        (caller.authorize(&junk), 403)
                    } else {
                        (caller.export_all(&junk), 401)
                    };
                    assert!(statuses.iter().all(|&status| status == refused), "{statuses:?}");
                }
            });
        }
    });
}

fn junk() -> IngestionKey {
    let random = |bytes: &mut [u8]| {
        fastrand::fill(bytes);
        Ok::<_, std::convert::Infallible>(())
    };
    IngestionKey::generate(random).unwrap_or_else(|error| match error {})
}
