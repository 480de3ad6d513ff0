//! Tests of the store with a real PostgreSQL.

mod changes;
#[cfg(feature = "sqlite")]
mod copy;
mod failures;
mod rights;
mod schema;

use std::sync::Arc;

use test_postgres::Postgres;

use super::*;
use crate::store::contract::fixture::{commit, record};
use crate::store::{KeyStore, StoreErrorKind, Write};

/// Makes a store in a new database of the server that all tests share.
async fn empty() -> (PostgresStore, Arc<Postgres>) {
    let server = Postgres::shared();
    let store = open(&server.create_database());
    (store, server)
}

fn open(url: &str) -> PostgresStore {
    PostgresStore::new(&PostgresOptions::parse(url).unwrap()).unwrap()
}

/// Inserts the key with this number.
async fn insert(store: &PostgresStore, number: i64) -> i64 {
    let change = commit(number.unsigned_abs() as u8, vec![Write::Insert(record(number, "n"))]);
    store.commit(change).await.unwrap().revision
}

/// Reads a whole snapshot, and returns its cursor and the number of its keys.
async fn whole(store: &PostgresStore) -> (usize, Cursor) {
    let mut snapshot = store.snapshot().await.unwrap();
    let mut count = 0;
    loop {
        match snapshot.next().await.unwrap() {
            SnapshotChunk::Changes(changes) => count += changes.len(),
            SnapshotChunk::End(cursor) => return (count, cursor),
        }
    }
}

/// Returns the revisions of the changes since a cursor, and moves the cursor.
async fn follow(store: &PostgresStore, cursor: &mut Cursor) -> Vec<i64> {
    match store.changes_since(cursor).await.unwrap() {
        Changes::Since(changes, next) => {
            *cursor = next;
            changes.iter().map(|change| change.revision).collect()
        }
        Changes::SnapshotNeeded => panic!("the store asks for a snapshot"),
    }
}

crate::store_contract!(empty);
