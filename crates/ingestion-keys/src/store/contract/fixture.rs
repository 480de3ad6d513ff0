//! Keys and changes that are the same in every run.

use std::convert::Infallible;

use ingestion_api::IngestionKey;

use crate::audit::{AuditAction, AuditNote};
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord, KeyRole};
use crate::store::{Commit, Write};

/// The time at which tests begin.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Makes the key with this number.
pub(crate) fn key(number: u64) -> IngestionKey {
    let mut state = number.wrapping_mul(0xd134_2543_de82_ef95);
    let Ok(key) = IngestionKey::generate(|bytes| {
        bytes.chunks_mut(8).for_each(|chunk| {
            chunk.copy_from_slice(&split_mix_64(&mut state).to_le_bytes()[..chunk.len()]);
        });
        Ok::<_, Infallible>(())
    });
    key
}

/// Advances the state of a SplitMix64 generator, and returns its next number.
pub(crate) fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Makes the record of the key with this number.
pub(crate) fn record(number: i64, name: &str) -> KeyRecord {
    let key = key(number.unsigned_abs());
    KeyRecord {
        id: id(number),
        role: KeyRole::Ingestion,
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

pub(crate) fn id(number: i64) -> KeyId {
    let Some(id) = KeyId::new(number) else { panic!("{number} cannot be an id") };
    id
}

/// Makes a change with these writes and an audit note about the first write.
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
