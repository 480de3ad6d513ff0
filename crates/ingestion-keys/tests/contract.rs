//! Runs the contract suite on a store as another crate does: this file uses only the public API.

#![cfg(feature = "testing")]

use ingestion_keys::store::MemoryStore;

async fn empty() -> (MemoryStore, ()) {
    (MemoryStore::new([0; 16]), ())
}

ingestion_keys::store_contract!(empty);
