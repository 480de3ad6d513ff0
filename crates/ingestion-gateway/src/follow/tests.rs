use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use ingestion_api::{FollowEvent, FollowPosition, KeySource, KeyUsage, UsageReport};
use ingestion_keys::KeyRole;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::{Clock, ManualClock, Timestamp};
use ingestion_keys::service::{IssuedKey, KeyService, NewKey};
use ingestion_keys::store::{Cursor, KeyStore, MemoryStore};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use otlp_auth::server::ServerAuthenticator as _;
use otlp_auth::{Credential, Decision, Identity};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::reading::READERS;
use super::*;

/// How long a test waits for a step before it fails. No step takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

type Events = Pin<Box<dyn Stream<Item = Result<Bytes, std::convert::Infallible>> + Send>>;

struct TestEnv {
    hub: Arc<Hub>,
    store: Arc<MemoryStore>,
    cache: Arc<KeyCache>,
    clock: Arc<ManualClock>,
    service: KeyService,
    stopping: CancellationToken,
}

impl TestEnv {
    /// Makes a hub that takes at most this number of followers.
    async fn new(max: usize) -> Self {
        let store = Arc::new(MemoryStore::new([0; 16]));
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let cache = Arc::new(KeyCache::new(Arc::clone(&time), KeyCacheOptions::default()));
        cache.catch_up(&*store).await.unwrap();
        let keys: Arc<dyn KeyStore> = Arc::clone(&store) as _;
        let service = KeyService::new(Arc::clone(&keys), Arc::clone(&cache), Arc::clone(&time));
        let stopping = CancellationToken::new();
        let meter = SdkMeterProvider::default().meter("tests");
        let hub = Hub::start(Arc::clone(&cache), keys, time, stopping.clone(), max, &meter);
        Self { hub, store, cache, clock, service, stopping }
    }

    async fn create(&self, role: KeyRole) -> IssuedKey {
        let new = NewKey { name: "n".to_owned(), role, ..NewKey::default() };
        self.service.create("ops", new).await.unwrap()
    }

    /// Creates this number of keys.
    async fn create_keys(&self, keys: usize) {
        for _ in 0..keys {
            self.create(KeyRole::Ingestion).await;
        }
    }

    async fn catch_up(&self) {
        self.cache.catch_up(&*self.store).await.unwrap();
    }

    async fn join(&self, after: Option<Cursor>) -> Result<Events, JoinError> {
        self.join_as(Identity::new("pipeline"), after).await
    }

    async fn join_as(
        &self,
        identity: Identity,
        after: Option<Cursor>,
    ) -> Result<Events, JoinError> {
        Ok(Box::pin(self.hub.join(after, identity, None).await?))
    }

    /// Lets a follower join and take everything up to the first position.
    async fn joined(&self, after: Option<Cursor>) -> (Events, FollowPosition) {
        let mut events = self.join(after).await.unwrap();
        let position = position(&until_position(&mut events).await);
        (events, position)
    }
}

/// Returns the events of a stream up to the next position, or until the stream ends.
async fn until_position(stream: &mut Events) -> Vec<FollowEvent> {
    let mut events = Vec::new();
    while let Some(Ok(lines)) = timeout(PATIENCE, stream.next()).await.expect("an event") {
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            events.push(serde_json::from_slice(line).unwrap());
        }
        if matches!(events.last(), Some(FollowEvent::Position(_))) {
            break;
        }
    }
    events
}

fn position(events: &[FollowEvent]) -> FollowPosition {
    match events.last() {
        Some(FollowEvent::Position(position)) => *position,
        _ => panic!("no position: {events:?}"),
    }
}

/// Returns how many keys each event has.
fn keys(events: &[FollowEvent]) -> Vec<usize> {
    let keys = |event: &FollowEvent| match event {
        FollowEvent::Keys(keys) => Some(keys.len()),
        _ => None,
    };
    events.iter().filter_map(keys).collect()
}

fn is_snapshot(events: &[FollowEvent]) -> bool {
    matches!(events.first(), Some(FollowEvent::Hello(hello)) if hello.snapshot)
}

// Scenario: a follower takes nothing while more changes are made than wait for it.
// Guarantee: it gets the rest after its cursor in the same stream, without another snapshot.
#[tokio::test]
async fn a_slow_follower_gets_the_rest_from_the_store() {
    let env = TestEnv::new(2).await;
    let (mut slow, _) = env.joined(None).await;
    for _ in 0..200 {
        env.create_keys(1).await;
        env.catch_up().await;
    }
    let events = until_position(&mut slow).await;
    assert_eq!(keys(&events), [200]);
    env.create_keys(1).await;
    env.catch_up().await;
    assert_eq!(keys(&until_position(&mut slow).await), [1]);
}

// Scenario: more keys are created at once than one event has.
// Guarantee: the follower gets all of them in the same stream, in lines of limited length.
#[tokio::test]
async fn many_changes_are_read_from_the_store() {
    let env = TestEnv::new(2).await;
    let (mut follower, _) = env.joined(None).await;
    env.create_keys(501).await;
    env.catch_up().await;
    let events = until_position(&mut follower).await;
    assert_eq!(keys(&events), [256, 245]);
    assert_eq!(position(&events).cursor.revision, 501);
}

// Scenario: a follower has a cursor that the store does not know any more, and so does another one
// that is connected when the store begins another history.
// Guarantee: the first one gets a snapshot. The stream of the other one ends, because a snapshot
// begins with the first line of a stream.
#[tokio::test]
async fn a_lost_cursor_needs_a_snapshot() {
    let env = TestEnv::new(2).await;
    let (mut connected, position) = env.joined(None).await;
    env.store.restart([1; 16]);
    env.catch_up().await;
    assert_eq!(until_position(&mut connected).await, []);
    let mut again = env.join(Some(position.cursor.into())).await.unwrap();
    assert!(is_snapshot(&until_position(&mut again).await));
}

// Scenario: a follower asks while others read from the store, which takes ten seconds.
// Guarantee: the follower is told the time at which it came, from which it measures how old the
// position is, and not the time at which it is answered.
#[tokio::test]
async fn waiting_makes_a_position_no_older() {
    let env = TestEnv::new(2).await;
    let (_, first) = env.joined(None).await;
    env.create_keys(1).await;
    env.catch_up().await;
    let others = env.hub.reads.changes.acquire_many(READERS as u32).await.unwrap();
    let mut joining = pin!(env.join(Some(first.cursor.into())));
    assert!(joining.as_mut().now_or_never().is_none());
    env.clock.advance(Duration::from_secs(10));
    drop(others);
    let events = until_position(&mut joining.await.unwrap()).await;
    let Some(FollowEvent::Hello(hello)) = events.first() else { panic!("{events:?}") };
    assert_eq!((hello.now, position(&events).as_of), (0, 10_000));
}

// Scenario: the gateway has not read its store for 20 seconds when a follower joins that has
// everything, and for 25 seconds when a heartbeat comes. Then it reads a change, which the follower
// takes later.
// Guarantee: each position says when the store was read, and not when the position was sent.
#[tokio::test]
async fn a_position_is_as_old_as_the_last_read() {
    let env = TestEnv::new(2).await;
    let (_, first) = env.joined(None).await;
    env.clock.advance(Duration::from_secs(20));
    let mut events = env.join(Some(first.cursor.into())).await.unwrap();
    let got = until_position(&mut events).await;
    let Some(FollowEvent::Hello(hello)) = got.first() else { panic!("{got:?}") };
    assert_eq!((hello.now, position(&got).as_of), (20_000, 0));
    env.clock.advance(Duration::from_secs(5));
    let heartbeat = tokio::select! {
        heartbeat = until_position(&mut events) => heartbeat,
        () = env.hub.beat() => unreachable!(),
    };
    assert_eq!(position(&heartbeat).as_of, 0);
    env.create_keys(1).await;
    env.catch_up().await;
    env.clock.advance(Duration::from_secs(5));
    let change = until_position(&mut events).await;
    assert_eq!((keys(&change), position(&change).as_of), (vec![1], 25_000));
}

// Scenario: two followers with the same cursor wait for their turn to be read for. The request of
// the first one is dropped.
// Guarantee: both wait for one read, which goes on for the other one.
#[tokio::test]
async fn a_read_does_not_end_with_a_request() {
    let env = TestEnv::new(2).await;
    let (_, first) = env.joined(None).await;
    env.create_keys(1).await;
    env.catch_up().await;
    let others = env.hub.reads.changes.acquire_many(READERS as u32).await.unwrap();
    let mut remaining = pin!(env.join(Some(first.cursor.into())));
    {
        let mut dropped = pin!(env.join(Some(first.cursor.into())));
        assert!(dropped.as_mut().now_or_never().is_none());
        assert!(remaining.as_mut().now_or_never().is_none());
        assert_eq!(env.hub.reads.waiting_len(), 1);
    }
    drop(others);
    assert_eq!(keys(&until_position(&mut remaining.await.unwrap()).await), [1]);
}

// Scenario: many followers, each with another cursor, do not take the changes that were read for
// them. Two others do not take a snapshot.
// Guarantee: another follower gets its changes at once, and another one its snapshot after some
// seconds. By then, the streams of those that take nothing have ended.
#[tokio::test(start_paused = true)]
async fn slow_followers_keep_nobody_waiting() {
    let env = TestEnv::new(100).await;
    let (_, first) = env.joined(None).await;
    let mut cursors = vec![first.cursor];
    for _ in 0..3 * READERS {
        env.create_keys(1).await;
        env.catch_up().await;
        cursors.push(env.joined(None).await.1.cursor);
    }
    env.create_keys(1).await;
    env.catch_up().await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for cursor in cursors.into_iter().skip(1) {
        slow.push(env.join(Some(cursor.into())).await.unwrap());
    }
    let mut events = env.join(Some(first.cursor.into())).await.unwrap();
    assert_eq!(keys(&until_position(&mut events).await), [3 * READERS + 1]);
    assert_eq!(begun.elapsed(), Duration::ZERO);

    for _ in 0..2 {
        slow.push(env.join(None).await.unwrap());
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    drop(env.joined(None).await);
    assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
    for mut slow in slow {
        let events = until_position(&mut slow).await;
        assert!(matches!(events[..], [FollowEvent::Hello(_)]), "{events:?}");
    }
}

// Scenario: reports have more keys, and more clients of a key, than a follower sends. Then two
// tokens report in the name of the same process, each with the same number, twice.
// Guarantee: reports that are too large are refused, and count nothing. The reports of each token
// count once.
#[tokio::test]
async fn reports_are_limited_and_belong_to_a_token() {
    let env = TestEnv::new(2).await;
    let key = env.create(KeyRole::Ingestion).await.key.record.id;
    let usage = |id: i64, sources: usize| {
        let address = "192.0.2.1".to_owned();
        let source = KeySource { address, user_agent: None, last_used_timestamp: 0 };
        let sources = vec![source; sources];
        KeyUsage { id, accepted: 1, sources, ..KeyUsage::default() }
    };
    let report = |number, keys| UsageReport { source: "0f".repeat(16), number, timestamp: 0, keys };
    let many_keys: Vec<_> = (1..=101).map(|id| usage(id, 0)).collect();
    assert_eq!(env.hub.report(Some(1), report(1, many_keys)), Err(ReportError::TooManyKeys));
    let many_clients = report(1, vec![usage(key.get(), 101)]);
    assert_eq!(env.hub.report(Some(1), many_clients), Err(ReportError::TooManyClients));
    for token in [1, 2, 1, 2] {
        assert_eq!(env.hub.report(Some(token), report(1, vec![usage(key.get(), 100)])), Ok(()));
    }
    env.cache.flush_usage(&*env.store).await.unwrap();
    assert_eq!(env.store.get(key).await.unwrap().unwrap().usage.accepted, 2);
}

// Scenario: the store cannot be read.
// Guarantee: a follower is told only that.
#[tokio::test]
async fn a_store_that_fails_is_no_business_of_followers() {
    let env = TestEnv::new(2).await;
    env.store.fail(true);
    let error = env.join(None).await.map(drop).unwrap_err();
    assert_eq!(
        (error, error.to_string()),
        (JoinError::Store, "the keys cannot be read now".into())
    );
    env.store.fail(false);
    drop(env.joined(None).await);
}

// Scenario: the token of a follower is deleted. No heartbeat is sent.
// Guarantee: the stream ends by the change itself.
#[tokio::test]
async fn a_stream_ends_when_its_token_is_deleted() {
    let env = TestEnv::new(2).await;
    let token = env.create(KeyRole::Follower).await;
    env.catch_up().await;
    let credential = Credential::new("StackState", token.secret.expose_secret()).unwrap();
    let Ok(Decision::Allow(identity)) = env.hub.tokens().authenticate(&credential).await else {
        panic!("the token is not accepted")
    };
    let mut events = env.join_as(identity, None).await.unwrap();
    position(&until_position(&mut events).await);
    env.service.delete("ops", token.key.record.id).await.unwrap();
    env.catch_up().await;
    assert_eq!(until_position(&mut events).await, []);
}

// Scenario: the gateway begins to stop while a follower waits for a change, and while another one
// has taken only a part of a snapshot.
// Guarantee: both streams end.
#[tokio::test]
async fn streams_end_when_the_gateway_stops() {
    let env = TestEnv::new(2).await;
    env.create_keys(1000).await;
    let (mut waiting, _) = env.joined(None).await;
    let mut reading = env.join(None).await.unwrap();
    reading.next().await.unwrap().unwrap();
    env.stopping.cancel();
    assert_eq!(until_position(&mut waiting).await, []);
    assert_eq!(until_position(&mut reading).await, []);
}

// Scenario: more followers come than the gateway takes. Then one of them leaves.
// Guarantee: the follower that is too many is refused, and may come when another one has left.
#[tokio::test]
async fn followers_leave_room_for_administrators() {
    let env = TestEnv::new(2).await;
    let (first, second) = (env.join(None).await.unwrap(), env.join(None).await.unwrap());
    assert_eq!(env.join(None).await.map(drop).unwrap_err(), JoinError::Full);
    drop(first);
    env.join(None).await.map(drop).unwrap();
    drop(second);
}

// Scenario: the followers of one token have all places that one token may have, and a follower with
// another token has the last place. A while later, a follower of each token comes back, before the
// gateway has noticed that its connection is broken.
// Guarantee: one token leaves places for others. Whoever comes back gets the place of the follower
// that has been connected with the same token for longest, and of no other. The stream of that one
// ends. While it has not ended, it counts, and few others are replaced.
#[tokio::test]
async fn a_follower_that_comes_back_gets_its_place() {
    let env = TestEnv::new(8).await;
    let join = async |token: u64| env.join_as(Identity::new("pipeline").with_id(token), None).await;
    let mut first = join(1).await.unwrap();
    position(&until_position(&mut first).await);
    env.clock.advance(Duration::from_secs(1));
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(join(1).await.unwrap());
    }
    assert_eq!(join(1).await.map(drop).unwrap_err(), JoinError::Full);
    let other_token = join(2).await.unwrap();
    env.clock.advance(Duration::from_secs(29));
    assert_eq!(join(2).await.map(drop).unwrap_err(), JoinError::Full);
    assert_eq!(join(3).await.map(drop).unwrap_err(), JoinError::Full);
    let _again = join(1).await.unwrap();
    assert_eq!(until_position(&mut first).await, []);
    assert_eq!((env.hub.connections(1).len(), env.hub.connections(2).len()), (7, 1));
    assert_eq!(join(1).await.map(drop).unwrap_err(), JoinError::Full);
    env.clock.advance(Duration::from_secs(30));
    let _instead_of_one = join(1).await.unwrap();
    assert_eq!(join(1).await.map(drop).unwrap_err(), JoinError::Full);
    drop(others.remove(0));
    let _instead_of_another = join(1).await.unwrap();
    drop((first, others, other_token));
    assert_eq!((env.hub.connections(1).len(), env.hub.connections(2).len()), (3, 0));
}
