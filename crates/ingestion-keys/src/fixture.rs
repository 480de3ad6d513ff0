//! What the tests of several modules need.

use std::sync::atomic::{AtomicU64, Ordering};

use ingestion_api::{AuditAction, IngestionKey};
use otlp_auth::server::InMemoryAuthenticator;
use otlp_auth::{Credential, Decision, DenyReason};

use crate::clock::Timestamp;
use crate::entropy::{Entropy, EntropyError};
use crate::key::{KeyDigest, KeyId, KeyRecord};
use crate::ring::Ring;
use crate::store::{AuditNote, Commit, Write};

/// The moment at which tests begin.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Numbers that look random, the same in every run.
#[derive(Debug, Default)]
pub(crate) struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64.
            let state = self
                .0
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A key that is the same for the same number.
pub(crate) fn key(number: u64) -> IngestionKey {
    let entropy = CountingEntropy(AtomicU64::new(number.wrapping_mul(0xd134_2543_de82_ef95)));
    IngestionKey::generate(|bytes| entropy.fill(bytes)).unwrap()
}

/// The record of a key that is the same for the same number.
pub(crate) fn record(number: i64, name: &str) -> KeyRecord {
    let key = key(number.unsigned_abs());
    KeyRecord {
        id: KeyId::new(number).unwrap(),
        digest: KeyDigest::of(&key),
        key_start: key.start().to_owned(),
        name: name.to_owned(),
        description: None,
        created_at: NOW,
        updated_at: NOW,
        expires_at: None,
        enabled: true,
        successor: None,
        revision: 0,
    }
}

/// A commit of these writes, told by the first.
pub(crate) fn commit(change: u8, writes: Vec<Write>) -> Commit {
    let (action, record) = match &writes[0] {
        Write::Insert(record) => (AuditAction::Create, record),
        Write::Update(record) => (AuditAction::Update, record),
        Write::Delete(record) => (AuditAction::Delete, record),
    };
    let audit = AuditNote {
        action,
        key_id: record.id,
        key_name: record.name.clone(),
        other_key_id: None,
        changes: Vec::new(),
    };
    Commit { change_id: [change; 16], at: NOW, who: "test".to_owned(), audit, writes }
}

/// A verdict that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Allow(String),
    Deny(DenyReason),
    Undecided,
}

/// What `ring` says to this key.
pub(crate) fn says(ring: &Ring, key: &str) -> Says {
    match ring.decide(&Credential::new("StackState", key).unwrap()) {
        Ok(Decision::Allow(identity)) => Says::Allow(identity.name().to_owned()),
        Ok(Decision::Deny(denial)) => Says::Deny(denial.reason()),
        Err(_) => Says::Undecided,
    }
}

pub(crate) fn allow(name: &str) -> Says {
    Says::Allow(name.to_owned())
}
