//! Keys that are the same in every run.

use std::convert::Infallible;

use ingestion_api::IngestionKey;
use ingestion_keys::audit::{AuditAction, AuditNote};
use ingestion_keys::clock::Timestamp;
use ingestion_keys::store::{Commit, KeyStore, Write};
use ingestion_keys::{KeyDigest, KeyId, KeyRecord, KeyRole};

/// The number of keys that one commit inserts while a database is filled.
const BATCH: u64 = 10_000;

/// Inserts the keys with the numbers below `count` into an empty store.
pub(crate) async fn fill(store: &dyn KeyStore, count: u64) {
    for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        let records: Vec<_> = (first..count.min(first + BATCH)).map(record).collect();
        let audit = AuditNote {
            action: AuditAction::Create,
            key_id: records[0].id,
            key_name: records[0].name.clone(),
            other_key_id: None,
            changes: Vec::new(),
        };
        let writes = records.into_iter().map(Write::Insert).collect();
        let change_id = u128::from(first + 1).to_le_bytes();
        let commit = Commit {
            change_id,
            at: Timestamp::from_millis(1),
            who: "benchmark".to_owned(),
            audit,
            writes,
        };
        store.commit(commit).await.unwrap();
    }
}

fn record(number: u64) -> KeyRecord {
    let parsed = IngestionKey::parse(&key(number)).unwrap();
    let then = Timestamp::from_millis(1);
    KeyRecord {
        id: KeyId::new(i64::try_from(number).unwrap() + 1).unwrap(),
        role: KeyRole::Ingestion,
        digest: KeyDigest::of(&parsed),
        key_start: parsed.start().to_owned(),
        name: format!("sender-{number}"),
        description: None,
        created_at: then,
        updated_at: then,
        expires_at: None,
        enabled: true,
        successor: None,
        revision: 0,
    }
}

/// Returns the key with this number.
pub(crate) fn key(number: u64) -> String {
    let mut state = number.wrapping_mul(0xd134_2543_de82_ef95);
    let random = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.fill_with(|| {
            // This is the random number generator SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u8
        });
        Ok(())
    };
    let Ok(key) = IngestionKey::generate(random);
    key.expose_secret().to_owned()
}
