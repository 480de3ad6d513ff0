//! Keys that are the same in every run, and a database with a million of them.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use ingestion_api::IngestionKey;
use ingestion_keys::audit::{AuditAction, AuditNote};
use ingestion_keys::clock::Timestamp;
use ingestion_keys::store::{Commit, KeyStore as _, SqliteOptions, SqliteStore, Write};
use ingestion_keys::{KeyDigest, KeyId, KeyRecord, KeyRole};

use crate::payload::Random;

pub(crate) const MILLION: u64 = 1_000_000;

/// The number of a key that no program knows.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// The number of keys that one commit inserts.
const BATCH: u64 = 10_000;

/// Returns the key for this number.
pub(crate) fn key(number: u64) -> String {
    let mut random = Random::new(number);
    let random = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.fill_with(|| random.next() as u8);
        Ok(())
    };
    let Ok(key) = IngestionKey::generate(random);
    key.expose_secret().to_owned()
}

/// Returns the path of a database with a million keys. It is made once for each target directory.
pub(crate) fn million() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway-million-keys.db");
    if !path.exists() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let unfinished = directory.path().join("keys.db");
        let store = SqliteStore::open(&SqliteOptions::new(&unfinished)).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for first in (0..MILLION).step_by(BATCH as usize) {
            runtime.block_on(store.commit(commit(first))).unwrap();
        }
        drop(store);
        fs::rename(&unfinished, &path).unwrap();
    }
    path
}

fn commit(first: u64) -> Commit {
    let records: Vec<_> = (first..first + BATCH).map(record).collect();
    Commit {
        change_id: u128::from(first + 1).to_le_bytes(),
        at: Timestamp::from_millis(1),
        who: "benchmark".to_owned(),
        audit: AuditNote {
            action: AuditAction::Create,
            key_id: records[0].id,
            key_name: records[0].name.clone(),
            other_key_id: None,
            changes: Vec::new(),
        },
        writes: records.into_iter().map(Write::Insert).collect(),
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
