//! What somebody without a key can make the gateway remember.

use std::fs;
use std::thread;

use ingestion_api::IngestionKey;

use crate::gateway::{Gateway, House};
use crate::keys::Keys;

/// Keys of our format, with the right checksum, that nobody issued.
const JUNK: usize = 1_000_000;

/// Who send them at the same time, half of them to each of two listeners.
const SENDERS: usize = 4;

/// Keys of one go.
const BATCH: usize = 1000;

/// What each of the keys would take if it were remembered by its digest alone.
const REMEMBERED: usize = 32;

// Scenario: a million keys that nobody issued are sent with telemetry and to the authorize
// endpoint, some of them before the memory is measured. Guarantee: each is refused, and the gateway
// takes less memory for them than it would take to remember their digests.
#[test]
fn a_million_keys_of_nobody() {
    let house = House::new(&[]);
    let gateway = house.start();
    let keys = Keys::create(&mut gateway.caller());
    send_junk(&gateway, JUNK / 20);
    let before = resident(&gateway);
    send_junk(&gateway, JUNK);
    let after = resident(&gateway);
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

/// Bytes of memory that the process has.
fn resident(gateway: &Gateway) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid().as_raw_nonzero()))
        .expect("the status of the process");
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    resident.and_then(|kilobytes| kilobytes.trim().parse::<usize>().ok()).expect("its memory")
        * 1024
}
