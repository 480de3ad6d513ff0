//! Copies of an SQLite database.

use super::*;
use crate::key::{KeyClient, KeyRecord, KeyRole, Usage};
use crate::store::{CopyError, SqliteOptions, SqliteStore};

// Scenario: an SQLite database with keys, tokens of followers, a deleted token, usage and clients
// is copied. Then it is copied again to the same database, and once more to a database that a
// gateway has used.
// Guarantee: the copy has everything that the source has: a follower continues from a cursor of the
// source. The other two copies are refused, and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let source = SqliteStore::open(&SqliteOptions::new(directory.path().join("keys.db"))).unwrap();
    let role = |number| if number <= 2 { KeyRole::Follower } else { KeyRole::Ingestion };
    let with_role = |number| KeyRecord { role: role(number), ..record(number, "it's \"n\"") };
    let writes = (1..=3000).map(|number| Write::Insert(with_role(number))).collect();
    source.commit(commit(1, writes)).await.unwrap();
    let keys = source.list().await.unwrap();
    let deleted = keys[0].record.clone();
    source.commit(commit(2, vec![Write::Delete(deleted)])).await.unwrap();
    let client = |last, user_agent: Option<&str>| KeyClient {
        address: [192, 0, 2, last].into(),
        user_agent: user_agent.map(ToOwned::to_owned),
        last_used_at: Timestamp::from_millis(10),
    };
    let clients = vec![client(1, Some("a")), client(2, None), client(1, Some("b"))];
    let used = Usage { accepted: 7, bytes: 8, clients, ..Usage::default() };
    let usage = vec![(keys[1].record.id, used)];
    source.add_usage(UsageBatch { usage, max_clients: 5, oldest_client: None }).await.unwrap();

    let (target, server) = empty().await;
    let mut progress = Vec::new();
    let copied = target.copy_from(&source, |step| progress.push(step)).await.unwrap();
    assert_eq!((copied.keys, copied.tombstones, copied.changes, copied.audit), (2999, 1, 3, 2));
    assert!(!progress.is_empty());
    assert_eq!(target.list().await.unwrap(), source.list().await.unwrap());
    assert_eq!(target.audit(0, 10).await.unwrap(), source.audit(0, 10).await.unwrap());
    let first = Cursor { revision: 1, change_id: [1; 16] };
    let deleted = source.changes_since(&first).await.unwrap();
    assert_eq!(target.changes_since(&first).await.unwrap(), deleted);
    let id = keys[1].record.id;
    let sorted = async |store: &dyn KeyStore| {
        let mut usage = store.get(id).await.unwrap().unwrap().usage;
        usage.clients.sort_by_key(|client| (client.address, client.user_agent.clone()));
        usage
    };
    assert_eq!(sorted(&target).await, sorted(&source).await);
    let (count, mut cursor) = whole(&target).await;
    assert_eq!(count, 3000);
    assert_eq!(source.changes_since(&cursor).await.unwrap(), Changes::Since(vec![], cursor));
    let next = insert(&target, 4000).await;
    assert_eq!(follow(&target, &mut cursor).await, [next]);

    assert!(matches!(target.copy_from(&source, |_| ()).await, Err(CopyError::NotEmpty)));
    let used = open(&server.create_database());
    insert(&used, 1).await;
    assert!(matches!(used.copy_from(&source, |_| ()).await, Err(CopyError::NotEmpty)));
    assert_eq!(used.list().await.unwrap().len(), 1);
}
