//! The contract suite runs on a store from another crate: this one, which has nothing but the
//! public API.

#![cfg(feature = "testing")]

use ingestion_keys::store::MemoryStore;

async fn empty() -> (MemoryStore, ()) {
    (MemoryStore::new([0; 16]), ())
}

ingestion_keys::store_contract!(empty);
