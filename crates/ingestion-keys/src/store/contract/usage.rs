//! The usage of keys.

use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::cache::{KeyCache, KeyCacheOptions};
use crate::clock::{Clock as _, SystemClock};
use crate::key::KeyClient;

pub(super) fn used(accepted: u64, at: i64) -> Usage {
    Usage {
        accepted,
        failed: 2,
        denied: 1,
        bytes: 10,
        last_used_at: Some(Timestamp::from_millis(at)),
        clients: Vec::new(),
    }
}

pub(super) fn batch(usage: Vec<(KeyId, Usage)>) -> UsageBatch {
    UsageBatch { usage, max_clients: 2, oldest_client: Some(Timestamp::from_millis(100)) }
}

/// Scenario: the usage of a key is added in two batches. The last use in the second batch is
/// earlier than the last use in the first. The key is changed between the batches, and deleted at
/// the end.
/// Guarantee: the counters add up, and the latest use stays. A change of the key does not change
/// its usage. Adding usage does not make a new revision. The usage is deleted with the key.
pub async fn usage_adds_up(store: &Store) {
    let key = insert(store, 1, "n").await;
    insert(store, 2, "n").await;
    let before = cursor(store).await;
    store.add_usage(batch(vec![(id(1), used(3, 200)), (id(2), used(1, 300))])).await.unwrap();
    let after = cursor(store).await;
    assert_eq!(before, after);
    let updated = KeyRecord { name: "m".to_owned(), ..key };
    let revision =
        store.commit(commit(2, vec![Write::Update(updated.clone())])).await.unwrap().revision;
    store.add_usage(batch(vec![(id(1), used(4, 150))])).await.unwrap();
    let sum = Usage {
        accepted: 7,
        failed: 4,
        denied: 2,
        bytes: 20,
        last_used_at: Some(Timestamp::from_millis(200)),
        clients: Vec::new(),
    };
    assert_eq!(store.get(id(1)).await.unwrap().unwrap().usage, sum);
    assert_eq!(store.list().await.unwrap()[1].usage, used(1, 300));
    store.commit(commit(3, vec![Write::Delete(KeyRecord { revision, ..updated })])).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
}

/// Scenario: more clients use a key than are kept. One client uses the key twice, and one client
/// used it too long ago.
/// Guarantee: `get` returns the latest clients, the latest first and each client once. `list`
/// returns no clients.
pub async fn clients_are_few_and_recent(store: &Store) {
    insert(store, 1, "n").await;
    let address = |last| IpAddr::from([192, 0, 2, last]);
    let client = |last, at| KeyClient {
        address: address(last),
        user_agent: (last % 2 == 0).then(|| "a \"b\"".to_owned()),
        last_used_at: Timestamp::from_millis(at),
    };
    for (last, at) in [(1, 99), (2, 110), (3, 120), (2, 130), (5, 125)] {
        let usage = Usage { clients: vec![client(last, at)], ..Usage::default() };
        store.add_usage(batch(vec![(id(1), usage)])).await.unwrap();
    }
    let clients = store.get(id(1)).await.unwrap().unwrap().usage.clients;
    assert_eq!(clients, [client(2, 130), client(5, 125)]);
    assert!(store.list().await.unwrap()[0].usage.clients.is_empty());
}

/// Scenario: a batch has the usage of a key that does not exist and of a key that exists.
/// Guarantee: the usage of the existing key is added, and the other usage is ignored.
pub async fn usage_of_no_key_is_passed_over(store: &Store) {
    insert(store, 2, "n").await;
    store.add_usage(batch(vec![(id(1), used(1, 200)), (id(2), used(1, 200))])).await.unwrap();
    assert_eq!(store.get(id(2)).await.unwrap().unwrap().usage.accepted, 1);
    assert_eq!(store.get(id(1)).await.unwrap(), None);
}

/// Scenario: a follower reports the largest possible usage, with user agents that no header of HTTP
/// can have, and usage of another key after that.
/// Guarantee: all usage is written. The clients are there without these user agents.
pub async fn a_strange_report_is_written(store: &Store) {
    insert(store, 1, "n").await;
    insert(store, 2, "n").await;
    let cache = KeyCache::new(Arc::new(SystemClock), KeyCacheOptions::default());
    let client = |last, user_agent: &str| KeyClient {
        address: [192, 0, 2, last].into(),
        user_agent: Some(user_agent.to_owned()),
        last_used_at: SystemClock.wall(),
    };
    let agents = ["a\0", "\u{1b}[2J", "é", "agent/1.0 (x)"];
    let clients: Vec<_> = (0..).zip(agents).map(|(last, agent)| client(last, agent)).collect();
    let most = u64::MAX;
    let largest = Usage { accepted: most, failed: most, denied: most, bytes: most, ..used(0, 0) };
    cache.report_usage(vec![(id(1), Usage { clients, ..largest }), (id(2), used(1, 2))]).unwrap();
    for _ in 0..2 {
        cache.flush_usage(store).await.unwrap();
    }
    let mut usage = store.get(id(1)).await.unwrap().unwrap().usage;
    usage.clients.sort_by_key(|client| client.address);
    let agents: Vec<_> = usage.clients.iter().map(|client| client.user_agent.as_deref()).collect();
    assert_eq!(agents, [None, None, None, Some("agent/1.0 (x)")]);
    assert!(usage.accepted >= i64::MAX as u64);
    assert_eq!(store.get(id(2)).await.unwrap().unwrap().usage, used(1, 2));
}
