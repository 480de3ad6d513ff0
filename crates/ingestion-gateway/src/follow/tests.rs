use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use ingestion_api::FollowEvent;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::{Clock, SystemClock};
use ingestion_keys::service::{KeyService, NewKey};
use ingestion_keys::store::{KeyStore, SqliteOptions, SqliteStore};
use otlp_auth::Identity;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// How long a test waits for a step before it fails. No step takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct TestEnv {
    hub: Arc<Hub>,
    store: Arc<SqliteStore>,
    cache: Arc<KeyCache>,
    service: KeyService,
    _directory: TempDir,
}

impl TestEnv {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(directory.path().join("keys.db"));
        let store = Arc::new(SqliteStore::open(&options).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let cache = Arc::new(KeyCache::new(Arc::clone(&clock), KeyCacheOptions::default()));
        cache.catch_up(&*store).await.unwrap();
        let dynamic: Arc<dyn KeyStore> = Arc::clone(&store) as _;
        let service = KeyService::new(dynamic, Arc::clone(&cache), Arc::clone(&clock));
        let dynamic: Arc<dyn KeyStore> = Arc::clone(&store) as _;
        let stopping = CancellationToken::new();
        let hub = Hub::start(Arc::clone(&cache), dynamic, clock, stopping, 2);
        Self { hub, store, cache, service, _directory: directory }
    }

    /// Creates this number of keys.
    async fn create(&self, keys: usize) {
        for _ in 0..keys {
            let new = NewKey { name: "n".to_owned(), ..NewKey::default() };
            self.service.create("ops", new).await.unwrap();
        }
    }

    async fn catch_up(&self) {
        self.cache.catch_up(&*self.store).await.unwrap();
    }
}

/// Returns the events of a stream until it ends, or until the first position.
async fn events(
    stream: impl Stream<Item = Result<bytes::Bytes, std::convert::Infallible>>,
    until_position: bool,
) -> Vec<FollowEvent> {
    let mut stream = pin!(stream);
    let mut events = Vec::new();
    while let Some(Ok(lines)) = timeout(PATIENCE, stream.next()).await.expect("an event") {
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            events.push(serde_json::from_slice(line).unwrap());
        }
        if until_position && matches!(events.last(), Some(FollowEvent::Position(_))) {
            break;
        }
    }
    events
}

// Scenario: a follower takes nothing while more changes are made than wait for it.
// Guarantee: its stream ends. It gets the rest after its cursor, without another snapshot.
#[tokio::test]
async fn a_slow_follower_is_disconnected() {
    let env = TestEnv::new().await;
    let join = async |after| env.hub.join(after, Identity::new("pipeline"), None).await.unwrap();
    let slow = join(None).await;
    for _ in 0..200 {
        env.create(1).await;
        env.catch_up().await;
    }
    let got = events(slow, false).await;
    let [FollowEvent::Hello(hello), FollowEvent::Position(position)] = got[..] else {
        panic!("{got:?}")
    };
    assert!(hello.snapshot);
    let rest = events(join(Some(position.cursor.into())).await, true).await;
    let [FollowEvent::Hello(hello), FollowEvent::Keys(keys), FollowEvent::Position(_)] = &rest[..]
    else {
        panic!("{rest:?}")
    };
    assert_eq!((hello.snapshot, keys.len()), (false, 200));
}

// Scenario: more keys are created at once than one event has.
// Guarantee: the stream ends, and the follower gets all of them after its cursor.
#[tokio::test]
async fn many_changes_are_read_from_the_store() {
    let env = TestEnv::new().await;
    let join = async |after| env.hub.join(after, Identity::new("pipeline"), None).await.unwrap();
    let follower = join(None).await;
    env.create(501).await;
    env.catch_up().await;
    let got = events(follower, false).await;
    let Some(FollowEvent::Position(position)) = got.last() else { panic!("{got:?}") };
    let rest = events(join(Some(position.cursor.into())).await, true).await;
    let keys = |event: &FollowEvent| match event {
        FollowEvent::Keys(keys) => keys.len(),
        _ => 0,
    };
    assert_eq!(rest.iter().map(keys).sum::<usize>(), 501);
    assert_eq!(rest.iter().filter(|event| keys(event) > 0).count(), 2);
}

// Scenario: more followers come than the gateway takes. Then one of them leaves.
// Guarantee: the follower that is too many is refused, and may come when another one has left.
#[tokio::test]
async fn followers_leave_room_for_administrators() {
    let env = TestEnv::new().await;
    let join = async || env.hub.join(None, Identity::new("pipeline"), None).await;
    let (first, second) = (join().await.unwrap(), join().await.unwrap());
    assert!(matches!(join().await.map(drop), Err(JoinError::Full)));
    drop(first);
    join().await.map(drop).unwrap();
    drop(second);
}
