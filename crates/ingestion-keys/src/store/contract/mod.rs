//! The contract of a store: tests that every implementation of [`KeyStore`] has to pass, in this
//! crate and in others.
//!
//! Each test is a function that takes an empty store. [`store_contract!`](crate::store_contract)
//! makes a `#[test]` of each function:
//!
//! ```
//! use ingestion_keys::store::MemoryStore;
//!
//! /// Makes an empty store, and a guard that is dropped after the store.
//! async fn empty() -> (MemoryStore, ()) {
//!     (MemoryStore::new([0; 16]), ())
//! }
//!
//! ingestion_keys::store_contract!(empty);
//! ```

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by a panic")]

pub(crate) mod fixture;
mod usage;

use std::collections::BTreeMap;
use std::time::Duration;

use self::fixture::{NOW, commit, id, record};
pub use self::usage::*;
use self::usage::{batch, used};
use super::*;
use crate::audit::{AuditAction, FieldChange, FromTo};

/// Makes a `#[test]` of each test of the [contract](crate::store::contract). The argument is the
/// path of an async function that returns an empty store and a guard, which is dropped after the
/// store.
#[macro_export]
macro_rules! store_contract {
    ($make:path) => {
        $crate::store_contract!($make:
            inserted_keys_are_read,
            a_change_is_whole_or_not_at_all,
            ids_are_never_used_again,
            a_key_that_changed_is_not_changed,
            equal_names_are_reported,
            changes_follow_a_cursor,
            a_key_that_changed_often_is_returned_once,
            a_cursor_of_another_history_is_not_followed,
            a_snapshot_has_everything,
            the_audit_has_every_change,
            usage_adds_up,
            clients_are_few_and_recent,
            usage_of_no_key_is_passed_over,
            a_strange_report_is_written,
            old_tombstones_are_forgotten,
            a_change_wakes_followers,
            followers_converge,
        );
    };
    ($make:path: $($case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $crate::store::contract::block_on(async {
                    let (store, _guard) = $make().await;
                    $crate::store::contract::$case(&store).await;
                    drop(store);
                });
            }
        )+
    };
}

type Store = dyn KeyStore;

/// Runs a test on a new Tokio runtime.
pub fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

async fn insert(store: &Store, number: i64, name: &str) -> KeyRecord {
    let committed =
        store.commit(commit(1, vec![Write::Insert(record(number, name))])).await.unwrap();
    KeyRecord { revision: committed.revision, ..record(number, name) }
}

async fn cursor(store: &Store) -> Cursor {
    whole(store).await.1
}

/// Reads a whole snapshot.
async fn whole(store: &Store) -> (Vec<Change>, Cursor) {
    let mut snapshot = store.snapshot().await.unwrap();
    let mut all = Vec::new();
    loop {
        match snapshot.next().await.unwrap() {
            SnapshotChunk::Changes(changes) => all.extend(changes),
            SnapshotChunk::End(cursor) => return (all, cursor),
        }
    }
}

async fn since(store: &Store, cursor: Cursor) -> (Vec<Change>, Cursor) {
    match store.changes_since(&cursor).await.unwrap() {
        Changes::Since(changes, cursor) => (changes, cursor),
        Changes::SnapshotNeeded => panic!("the store asks for a snapshot"),
    }
}

/// Scenario: a key of a follower with every optional field and a key without optional fields are
/// inserted.
/// Guarantee: both keys are read as they were written, ordered by id. Each key has the revision of
/// the change that inserted it.
pub async fn inserted_keys_are_read(store: &Store) {
    let full = KeyRecord {
        role: KeyRole::Follower,
        description: Some("'; DROP TABLE keys; --\n\u{1f980}".to_owned()),
        expires_at: Some(Timestamp::from_millis(KeyId::END - 1)),
        enabled: false,
        successor: Some(id(7)),
        updated_at: NOW.saturating_add(Duration::from_millis(1)),
        ..record(KeyId::END - 1, "<b>\"мой\" ключ")
    };
    let first = store.commit(commit(1, vec![Write::Insert(full.clone())])).await.unwrap().revision;
    let plain = insert(store, 1, "n").await;
    assert_eq!(plain.revision, first + 1);
    let full = KeyRecord { revision: first, ..full };
    let stored = |record: &KeyRecord| StoredKey { record: record.clone(), usage: Usage::default() };
    assert_eq!(store.list().await.unwrap(), [stored(&plain), stored(&full)]);
    assert_eq!(store.get(full.id).await.unwrap(), Some(stored(&full)));
    assert_eq!(store.get(id(2)).await.unwrap(), None);
}

/// Scenario: a change has two writes. The second write conflicts with an earlier change.
/// Guarantee: no part of the change is kept: no key, no audit entry and no revision.
pub async fn a_change_is_whole_or_not_at_all(store: &Store) {
    let old = insert(store, 1, "old").await;
    let before = cursor(store).await;
    let stale = KeyRecord { revision: old.revision + 1, name: "renamed".to_owned(), ..old.clone() };
    let refused =
        store.commit(commit(2, vec![Write::Insert(record(2, "new")), Write::Update(stale)])).await;
    assert!(matches!(refused, Err(CommitError::Changed)));
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(store.get(id(1)).await.unwrap().unwrap().record, old);
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 1);
    assert_eq!(since(store, before).await, (vec![], before));
    let both = vec![
        Write::Insert(record(2, "new")),
        Write::Update(KeyRecord { name: "renamed".to_owned(), ..old }),
    ];
    let revision = store.commit(commit(2, both)).await.unwrap().revision;
    assert!(store.list().await.unwrap().iter().all(|key| key.record.revision == revision));
}

/// Scenario: a key is inserted three times: with the id of an existing key, with the id of a
/// deleted key, and with the id of a key whose tombstone was removed.
/// Guarantee: each insertion fails because the id was used before.
pub async fn ids_are_never_used_again(store: &Store) {
    let key = insert(store, 1, "first").await;
    let again = || commit(2, vec![Write::Insert(record(1, "second"))]);
    assert!(matches!(store.commit(again()).await, Err(CommitError::IdTaken)));
    store.commit(commit(3, vec![Write::Delete(key)])).await.unwrap();
    assert!(matches!(store.commit(again()).await, Err(CommitError::IdTaken)));
    store.prune(NOW.saturating_add(Duration::from_secs(1))).await.unwrap();
    assert!(matches!(store.commit(again()).await, Err(CommitError::IdTaken)));
}

/// Scenario: a key is updated and deleted with an old revision. Then the key is deleted, and after
/// that it is updated and deleted once more.
/// Guarantee: both writes with the old revision and both writes after the deletion fail, because
/// the key has changed. The writes with the old revision leave the key as it is.
pub async fn a_key_that_changed_is_not_changed(store: &Store) {
    let old = insert(store, 1, "a").await;
    let new = KeyRecord { name: "b".to_owned(), ..old.clone() };
    let revision =
        store.commit(commit(2, vec![Write::Update(new.clone())])).await.unwrap().revision;
    for write in [Write::Update(old.clone()), Write::Delete(old.clone())] {
        assert!(matches!(store.commit(commit(3, vec![write])).await, Err(CommitError::Changed)));
    }
    let new = KeyRecord { revision, ..new };
    assert_eq!(store.get(id(1)).await.unwrap().unwrap().record, new);
    store.commit(commit(3, vec![Write::Delete(new.clone())])).await.unwrap();
    for write in [Write::Update(new.clone()), Write::Delete(new)] {
        assert!(matches!(store.commit(commit(4, vec![write])).await, Err(CommitError::Changed)));
    }
}

/// Scenario: keys are inserted with four kinds of names: a name that no key has, a name that
/// another key has, a name that only a key of another role has, and a name that only a deleted key
/// had.
/// Guarantee: only the name that another key of the same role has is reported as a duplicate. Names
/// are compared byte by byte.
pub async fn equal_names_are_reported(store: &Store) {
    let insert = async |number, name: &str| {
        store
            .commit(commit(1, vec![Write::Insert(record(number, name))]))
            .await
            .unwrap()
            .duplicate_name
    };
    assert!(!insert(1, "edge").await);
    assert!(!insert(2, "Edge").await);
    assert!(insert(3, "edge").await);
    let keys = store.list().await.unwrap();
    store.commit(commit(2, vec![Write::Delete(keys[1].record.clone())])).await.unwrap();
    assert!(!insert(4, "Edge").await);
    let follower = KeyRecord { role: KeyRole::Follower, ..record(5, "edge") };
    let inserted = store.commit(commit(3, vec![Write::Insert(follower)])).await.unwrap();
    assert!(!inserted.duplicate_name);
}

/// Scenario: a key and the token of a follower are inserted after a cursor was taken, and the token
/// is deleted.
/// Guarantee: the changed keys are returned in the order of the changes, each with its role. There
/// are no changes after the new cursor.
pub async fn changes_follow_a_cursor(store: &Store) {
    let start = cursor(store).await;
    let first = KeyRecord { role: KeyRole::Follower, ..record(2, "first") };
    let revision =
        store.commit(commit(1, vec![Write::Insert(first.clone())])).await.unwrap().revision;
    let first = KeyRecord { revision, ..first };
    let second = insert(store, 1, "second").await;
    let (changes, after) = since(store, start).await;
    assert_eq!(changes, [Change::from(&first), Change::from(&second)]);
    assert_eq!(after.revision, second.revision);
    assert_eq!(since(store, after).await, (vec![], after));
    let revision =
        store.commit(commit(9, vec![Write::Delete(first.clone())])).await.unwrap().revision;
    let deleted = Change {
        revision,
        id: first.id,
        role: KeyRole::Follower,
        digest: first.digest,
        state: KeyState::Deleted { at: NOW },
    };
    assert_eq!(
        since(store, after).await,
        (vec![deleted.clone()], Cursor { revision, change_id: [9; 16] })
    );
    assert_eq!(since(store, start).await.0, [Change::from(&second), deleted]);
}

/// Scenario: a key is changed three times after a cursor.
/// Guarantee: the key is returned once, in its last state.
pub async fn a_key_that_changed_often_is_returned_once(store: &Store) {
    let mut key = insert(store, 1, "n").await;
    let start = cursor(store).await;
    for (change, enabled) in [(2, false), (3, true), (4, false)] {
        key.enabled = enabled;
        key.revision =
            store.commit(commit(change, vec![Write::Update(key.clone())])).await.unwrap().revision;
    }
    assert_eq!(since(store, start).await.0, [Change::from(&key)]);
}

/// Scenario: changes are read after three kinds of cursors: one with a future revision, one with
/// the id of another change, and one whose change was pruned.
/// Guarantee: the store asks for a snapshot each time.
pub async fn a_cursor_of_another_history_is_not_followed(store: &Store) {
    let start = cursor(store).await;
    insert(store, 1, "n").await;
    let now = cursor(store).await;
    let future = Cursor { revision: now.revision + 1, ..now };
    let other = Cursor { change_id: [77; 16], ..now };
    for cursor in [future, other, Cursor { revision: start.revision, ..now }] {
        assert_eq!(store.changes_since(&cursor).await.unwrap(), Changes::SnapshotNeeded);
    }
    store.prune(NOW.saturating_add(Duration::from_secs(1))).await.unwrap();
    assert_eq!(store.changes_since(&start).await.unwrap(), Changes::SnapshotNeeded);
    assert_eq!(since(store, now).await, (vec![], now));
}

/// Scenario: a snapshot is taken of an empty store, and of a store with more keys than fit into one
/// chunk, a tombstone of a key, and the token of a follower.
/// Guarantee: the snapshot has each key and tombstone once with its role, and the cursor of the
/// last change.
pub async fn a_snapshot_has_everything(store: &Store) {
    assert!(whole(store).await.0.is_empty());
    let role = |number| if number == 2 { KeyRole::Follower } else { KeyRole::Ingestion };
    let with_role = |number| KeyRecord { role: role(number), ..record(number, "n") };
    let writes = (1..=5000).map(|number| Write::Insert(with_role(number))).collect();
    store.commit(commit(1, writes)).await.unwrap();
    let last = store.get(id(5000)).await.unwrap().unwrap().record;
    let revision =
        store.commit(commit(2, vec![Write::Delete(last.clone())])).await.unwrap().revision;
    let (changes, cursor) = whole(store).await;
    assert_eq!(cursor, Cursor { revision, change_id: [2; 16] });
    let by_id: BTreeMap<_, _> = changes.iter().map(|change| (change.id, &change.state)).collect();
    assert_eq!((changes.len(), by_id.len()), (5000, 5000));
    assert!(changes.iter().all(|change| change.role == role(change.id.get())));
    assert_eq!(by_id[&last.id], &KeyState::Deleted { at: NOW });
    assert!(
        matches!(by_id[&id(1)], KeyState::Live { name, expires_at: None, enabled: true } if name == "n")
    );
}

/// Scenario: three changes are made. One of the changes writes two keys, and its audit note has
/// five changed fields.
/// Guarantee: the log has one entry for each change, oldest first. Each entry has everything that
/// is in the audit note of its change. There are no gaps between pages of the log.
pub async fn the_audit_has_every_change(store: &Store) {
    let key = insert(store, 1, "old").await;
    let changes = vec![
        FieldChange::Role(FromTo { from: None, to: Some(KeyRole::Follower) }),
        FieldChange::Name(FromTo { from: None, to: Some("a \"b\"".to_owned()) }),
        FieldChange::Description(FromTo { from: Some(String::new()), to: None }),
        FieldChange::Expiration(FromTo { from: None, to: Some(NOW) }),
        FieldChange::Enabled(FromTo { from: Some(true), to: Some(false) }),
    ];
    let audit = AuditNote {
        action: AuditAction::Rotate,
        key_id: id(1),
        key_name: "old".to_owned(),
        other_key_id: Some(id(2)),
        changes,
    };
    let writes = vec![Write::Insert(record(2, "old")), Write::Update(key)];
    store
        .commit(Commit {
            change_id: [2; 16],
            at: NOW,
            who: "ops".to_owned(),
            audit: audit.clone(),
            writes,
        })
        .await
        .unwrap();
    let second = store.get(id(2)).await.unwrap().unwrap().record;
    store.commit(commit(3, vec![Write::Delete(second)])).await.unwrap();
    let entries = store.audit(0, 10).await.unwrap();
    let actions: Vec<_> =
        entries.iter().map(|entry| (entry.note.action, entry.note.key_id.get())).collect();
    assert_eq!(
        actions,
        [(AuditAction::Create, 1), (AuditAction::Rotate, 1), (AuditAction::Delete, 2)]
    );
    let revision = entries[1].revision;
    assert_eq!(entries[1], AuditEntry { revision, at: NOW, who: "ops".to_owned(), note: audit });
    assert_eq!(store.audit(0, 1).await.unwrap(), entries[..1]);
    assert_eq!(store.audit(entries[0].revision, 1).await.unwrap(), entries[1..2]);
    assert!(store.audit(entries[2].revision, 10).await.unwrap().is_empty());
}

/// Scenario: two keys are deleted, at 1000 ms and at 2000 ms. Then everything before 2000 ms is
/// pruned.
/// Guarantee: only the first tombstone is removed, and every audit entry stays.
pub async fn old_tombstones_are_forgotten(store: &Store) {
    for (number, at) in [(1, 1000), (2, 2000)] {
        let key = insert(store, number, "n").await;
        let delete =
            Commit { at: Timestamp::from_millis(at), ..commit(2, vec![Write::Delete(key)]) };
        store.commit(delete).await.unwrap();
    }
    store.prune(Timestamp::from_millis(2000)).await.unwrap();
    let ids: Vec<_> = whole(store).await.0.iter().map(|change| change.id).collect();
    assert_eq!(ids, [id(2)]);
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 4);
}

/// Scenario: a follower waits for a new revision. A change is made, and then usage is added.
/// Guarantee: the change wakes the follower, which gets the revision of the change. Adding usage
/// does not wake the follower.
pub async fn a_change_wakes_followers(store: &Store) {
    let mut revision = store.revision();
    let key = insert(store, 1, "n").await;
    revision.changed().await.unwrap();
    assert_eq!(*revision.borrow_and_update(), key.revision);
    store.add_usage(batch(vec![(id(1), used(1, 200))])).await.unwrap();
    assert!(!revision.has_changed().unwrap());
}

/// Scenario: keys are inserted, updated and deleted. One follower reads after every change, and
/// another follower reads after every seventh change.
/// Guarantee: at the end both followers have the same keys and tombstones as a snapshot.
pub async fn followers_converge(store: &Store) {
    let start = cursor(store).await;
    let (mut often, mut seldom) = ((start, BTreeMap::new()), (start, BTreeMap::new()));
    for step in 0..70_u8 {
        let number = i64::from(step) * 37 % 11 + 1;
        let write = match store.get(id(number)).await.unwrap() {
            None => Write::Insert(record(number, "n")),
            Some(key) if step % 5 == 0 => Write::Delete(key.record),
            Some(key) => Write::Update(KeyRecord { enabled: !key.record.enabled, ..key.record }),
        };
        match store.commit(commit(step, vec![write])).await {
            Ok(_) | Err(CommitError::IdTaken) => {}
            Err(error) => panic!("{error:?}"),
        }
        follow(store, &mut often).await;
        if step % 7 == 0 {
            follow(store, &mut seldom).await;
        }
    }
    follow(store, &mut seldom).await;
    let snapshot: BTreeMap<_, _> =
        whole(store).await.0.into_iter().map(|change| (change.id, change)).collect();
    assert!(!snapshot.is_empty());
    assert_eq!(often.1, snapshot);
    assert_eq!(seldom.1, snapshot);
}

async fn follow(store: &Store, (cursor, content): &mut (Cursor, BTreeMap<KeyId, Change>)) {
    let (changes, next) = since(store, *cursor).await;
    content.extend(changes.into_iter().map(|change| (change.id, change)));
    *cursor = next;
}

#[cfg(test)]
mod tests {
    // Scenario: the source text of the contract is read.
    // Guarantee: `store_contract!` runs every test of the contract.
    #[test]
    fn the_macro_runs_every_test() {
        let source = include_str!("mod.rs");
        let tests: Vec<&str> = [source, include_str!("usage.rs")]
            .into_iter()
            .flat_map(str::lines)
            .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
            .collect();
        assert!(tests.len() >= 17, "{tests:?}");
        for test in tests {
            assert!(source.lines().any(|line| line.trim() == format!("{test},")), "{test}");
        }
    }
}
