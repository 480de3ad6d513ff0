//! Several processes that make and follow changes. Each store of a test is what a process has.

use super::*;

// Scenario: four stores insert keys into one database at the same time, while a fifth follows.
// Guarantee: the fifth sees every revision once and in order. A revision that it has not seen never
// appears later before one that it has seen.
#[tokio::test(flavor = "multi_thread")]
async fn revisions_become_visible_in_order() {
    const WRITERS: i64 = 4;
    const EACH: i64 = 25;
    let server = Postgres::shared();
    let url = server.create_database();
    let follower = open(&url);
    let (_, mut cursor) = whole(&follower).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = open(&url);
            tokio::spawn(async move {
                for number in 1..=EACH {
                    insert(&store, writer * EACH + number).await;
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < (WRITERS * EACH) as usize {
        seen.extend(follow(&follower, &mut cursor).await);
    }
    assert_eq!(seen, (1..=WRITERS * EACH).collect::<Vec<_>>());
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(follow(&follower, &mut cursor).await, [0; 0]);
}

// Scenario: a store makes a change while another one waits for a new revision. Then the session on
// which the other one is told of changes is ended by an administrator, and another change is made.
// Guarantee: each change wakes the follower. The end of its session wakes it, too, so that it
// connects again.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_woken_and_connects_again() {
    let server = Postgres::shared();
    let url = server.create_database();
    let (writer, follower) = (open(&url), open(&url));
    let (_, mut cursor) = whole(&follower).await;
    let mut revision = follower.revision();
    for number in 1..=3 {
        revision.mark_unchanged();
        let inserted = insert(&writer, number).await;
        revision.changed().await.unwrap();
        assert_eq!(follow(&follower, &mut cursor).await, [inserted]);

        revision.mark_unchanged();
        let database = url.rsplit('/').next().unwrap();
        let ended = server.psql(
            database,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE '%ingestion_keys%' \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
        assert_ne!(ended.trim(), "0");
        revision.changed().await.unwrap();
        assert_eq!(follow(&follower, &mut cursor).await, [0; 0]);
    }
}

// Scenario: the database is asked whether a change was made: one that was made, one of another
// process with the same revision, and one with a later revision.
// Guarantee: only the change that was made is found.
#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_change_is_looked_up() {
    let (store, _server) = empty().await;
    let mut connected = store.pool.get().await.unwrap();
    let made = commit(1, vec![Write::Insert(record(1, "n"))]);
    let committed = change::make(&mut connected.client, &made).await.unwrap();
    let client = &mut connected.client;
    assert!(change::was_made(client, &made, committed).await.unwrap());
    let other = commit(2, vec![Write::Insert(record(2, "n"))]);
    assert!(!change::was_made(client, &other, committed).await.unwrap());
    let next = Committed { revision: committed.revision + 1, ..committed };
    assert!(!change::was_made(client, &made, next).await.unwrap());
}

// Scenario: a key is used and deleted, and then old tombstones are removed.
// Guarantee: its usage and its clients are removed with them. The usage of a key that exists stays.
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_deleted_keys_is_removed() {
    use crate::key::{KeyClient, Usage};
    let server = Postgres::shared();
    let url = server.create_database();
    let store = open(&url);
    let used = || Usage {
        accepted: 1,
        clients: vec![KeyClient {
            address: [192, 0, 2, 1].into(),
            user_agent: None,
            last_used_at: Timestamp::from_millis(1),
        }],
        ..Usage::default()
    };
    for number in [1, 2] {
        insert(&store, number).await;
    }
    let ids = [1, 2].map(|number| KeyId::new(number).unwrap());
    let usage = ids.iter().map(|id| (*id, used())).collect();
    store.add_usage(UsageBatch { usage, max_clients: 5, oldest_client: None }).await.unwrap();
    let key = store.get(ids[0]).await.unwrap().unwrap().record;
    store.commit(commit(3, vec![Write::Delete(key)])).await.unwrap();
    store.prune(Timestamp::from_millis(0)).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    for table in ["usage", "clients"] {
        let sql = format!("SELECT key_id FROM ingestion_keys.{table}");
        assert_eq!(server.psql(database, &sql).trim(), "2", "{table}");
    }
}

// Scenario: the counters of a key are near the largest number of the database, and more is added.
// Guarantee: the counters stay at the largest number, and the batch is not refused.
#[tokio::test(flavor = "multi_thread")]
async fn counters_do_not_overflow() {
    use crate::key::Usage;
    let (store, _server) = empty().await;
    insert(&store, 1).await;
    let id = KeyId::new(1).unwrap();
    for bytes in [u64::MAX - 1, 10] {
        let usage = vec![(id, Usage { bytes, accepted: 1, ..Usage::default() })];
        store.add_usage(UsageBatch { usage, max_clients: 5, oldest_client: None }).await.unwrap();
    }
    let usage = store.get(id).await.unwrap().unwrap().usage;
    assert_eq!((usage.accepted, usage.bytes), (2, i64::MAX as u64));
}
