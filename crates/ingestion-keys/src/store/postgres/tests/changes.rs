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

// Scenario: a store reads the changes for another process while its own session for changes is held
// by a read that does not end. One of these calls is dropped in the middle.
// Guarantee: the calls do not wait for the session and do not end it. The store is still told of
// changes.
#[tokio::test(flavor = "multi_thread")]
async fn others_do_not_touch_the_session_for_changes() {
    let server = Postgres::shared();
    let url = server.create_database();
    let (writer, store) = (open(&url), open(&url));
    let (_, cursor) = whole(&store).await;
    let mut revision = store.revision();
    let session = store.follower.connected.lock().await;
    let dropped = store.changes_for_others(&cursor);
    let _ = tokio::time::timeout(std::time::Duration::ZERO, dropped).await;
    let first = insert(&writer, 1).await;
    let Changes::Since(changes, _) = store.changes_for_others(&cursor).await.unwrap() else {
        panic!("the store asks for a snapshot")
    };
    assert_eq!(changes.iter().map(|change| change.revision).collect::<Vec<_>>(), [first]);
    drop(session);
    revision.changed().await.unwrap();
    assert_eq!(*revision.borrow_and_update(), first);
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

/// Makes every commit of a change take two seconds, and end with `then`.
fn slow_down_commits(server: &Postgres, url: &str, then: &str) {
    let (_, database) = url.rsplit_once('/').unwrap();
    let sql = format!(
        "CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN PERFORM pg_sleep(2); {then} END$$; \
         DROP TRIGGER IF EXISTS slow ON ingestion_keys.changes; \
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ingestion_keys.changes \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.slow()"
    );
    server.psql(database, &sql);
}

// Scenario: the connection breaks while the database commits a change. The database then commits
// the change, and the next time it rolls the change back.
// Guarantee: the store waits for the end of the transaction. It acknowledges the change that was
// made, and reports the other one as failed. No other change is held up after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_not_answered_is_found_out() {
    let server = Postgres::start();
    let url = server.create_database();
    let (_, database) = url.rsplit_once('/').unwrap();
    let link = test_postgres::Link::to(server.address());
    let through = format!("postgres://postgres@{}/{database}", link.address());
    let store = Arc::new(open(&through));
    store.migrate().await.unwrap();
    for (number, then, is_made) in [(1, "RETURN NULL;", true), (2, "RAISE EXCEPTION 'no';", false)]
    {
        slow_down_commits(&server, &url, then);
        let committing = Arc::clone(&store);
        let making = tokio::spawn(async move {
            committing.commit(commit(number, vec![Write::Insert(record(number.into(), "n"))])).await
        });
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while server.psql("postgres", sleeping) != "1" {
            tokio::task::yield_now().await;
        }
        link.drop_connections();
        let made = making.await.unwrap();
        assert_eq!(made.is_ok(), is_made, "{made:?}");
        let found = store.get(KeyId::new(number.into()).unwrap()).await.unwrap();
        assert_eq!(found.is_some(), is_made);
    }
    server.psql(database, "DROP TRIGGER slow ON ingestion_keys.changes");
    assert_eq!(insert(&store, 3).await, 2);
}

// Scenario: a standby that is asynchronous stops receiving changes, the primary is lost, and the
// standby is promoted. A cache that has seen the last changes follows both hosts. Before it reads
// the new history, a key is deleted through it.
// Guarantee: the deletion is in force when it is answered. After the next read, the cache has what
// the database has: a lost key is unknown, and a lost deletion is undone.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_database_is_right() {
    use otlp_auth::server::InMemoryAuthenticator as _;
    use otlp_auth::{Credential, Decision};

    use crate::cache::{KeyCache, KeyCacheOptions};
    use crate::clock::SystemClock;
    use crate::service::{KeyService, NewKey};

    let primary = Postgres::start();
    let url = primary.create_database();
    let (_, database) = url.rsplit_once('/').unwrap();
    let standby = primary.standby(false);
    let hosts = format!("{},{}", primary.address(), standby.address());
    let store: Arc<dyn KeyStore> =
        Arc::new(open(&format!("postgres://postgres@{hosts}/{database}")));
    let clock = Arc::new(SystemClock);
    let cache = Arc::new(KeyCache::new(clock.clone(), KeyCacheOptions::default()));
    let service = KeyService::new(Arc::clone(&store), Arc::clone(&cache), clock);
    cache.catch_up(&*store).await.unwrap();
    let create = async |name: &str| {
        let new = NewKey { name: name.to_owned(), ..NewKey::default() };
        service.create("test", new).await.unwrap()
    };
    let is_allowed = |secret: &str| {
        let credential = Credential::new("StackState", secret).unwrap();
        matches!(cache.decide(&credential), Ok(Decision::Allow(_)))
    };
    let (kept, restored) = (create("kept").await, create("restored").await);
    let count = "SELECT count(*) FROM ingestion_keys.keys";
    while standby.psql(database, count) != "2" {
        tokio::task::yield_now().await;
    }
    standby.psql("postgres", "ALTER SYSTEM SET primary_conninfo TO ''");
    standby.psql("postgres", "SELECT pg_reload_conf()");
    while standby.psql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver") != "0" {
        tokio::task::yield_now().await;
    }
    let lost = create("lost").await;
    service.delete("test", restored.key.record.id).await.unwrap();
    cache.catch_up(&*store).await.unwrap();
    primary.kill();
    standby.promote();

    service.delete("test", kept.key.record.id).await.unwrap();
    assert!(!is_allowed(kept.secret.expose_secret()));
    cache.catch_up(&*store).await.unwrap();
    assert!(!is_allowed(kept.secret.expose_secret()));
    assert!(!is_allowed(lost.secret.expose_secret()));
    assert!(is_allowed(restored.secret.expose_secret()));
}
