use otlp_auth::DenyReason::{Expired, Malformed, Revoked, Unknown};
use otlp_auth::Identity;
use otlp_auth::server::InMemoryAuthenticator;
use proptest::prelude::*;

use super::Standing::{Denied, Good};
use super::*;
use crate::clock::ManualClock;
use crate::fixture::{NOW, Outcome, allow, commit, decide, key, record};
use crate::key::{KeyId, KeyRecord, Usage};
use crate::store::{KeyStore, MemoryStore, Write};

mod follow;
mod usage;

const MAX_STALENESS: Duration = Duration::from_secs(600);

/// A token with the length and the prefix of a key and with the right checksum, but with a
/// character that no key has.
const WRONG_CHARACTER: &str = "iapikeyok-1234567_-9ABCDEFG-HIJKLMNO-151WRN";

struct TestEnv {
    cache: Arc<KeyCache>,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl TestEnv {
    fn new() -> Self {
        Self::with(KeyCacheOptions { max_clients: 2, ..KeyCacheOptions::default() })
    }

    fn with(options: KeyCacheOptions) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let cache = Arc::new(KeyCache::new(clock.clone(), options));
        Self { cache, store: Arc::new(MemoryStore::new([0; 16])), clock }
    }

    async fn write(&self, write: Write) -> i64 {
        self.store.commit(commit(1, vec![write])).await.unwrap().revision
    }

    /// Inserts a key into the store, and lets the cache read it.
    async fn insert(&self, number: i64, name: &str) -> KeyRecord {
        let revision = self.write(Write::Insert(record(number, name))).await;
        self.catch_up().await;
        KeyRecord { revision, ..record(number, name) }
    }

    async fn catch_up(&self) {
        self.cache.catch_up(&*self.store).await.unwrap();
    }

    fn decide(&self, number: u64) -> Outcome {
        decide(&self.cache, key(number).expose_secret())
    }

    async fn flush(&self) {
        self.cache.flush_usage(&*self.store).await.unwrap();
    }

    async fn usage(&self, number: i64) -> Usage {
        self.store.get(KeyId::new(number).unwrap()).await.unwrap().unwrap().usage
    }
}

fn credential(token: &str) -> Credential<'_> {
    Credential::new("StackState", token).unwrap()
}

fn change(number: i64, revision: i64, state: KeyState) -> Change {
    Change { revision, state, ..Change::from(&record(number, "")) }
}

fn live(name: &str) -> KeyState {
    KeyState::Live { name: name.to_owned(), expires_at: None, enabled: true }
}

// Scenario: a valid key and tokens without the format of a key are presented to a cache that has
// not read its store.
// Guarantee: the cache is undecided about the key, and denies the other tokens.
#[test]
fn before_the_first_snapshot_only_formats_are_decided() {
    let env = TestEnv::new();
    env.cache.apply(&[change(1, 1, live("n"))]);
    assert_eq!(env.decide(1), Outcome::Undecided);
    assert_eq!(env.cache.fresh_for(), None);
    let good = key(1);
    let mistyped = good.expose_secret().replace(good.start(), "0000");
    for presented in ["receiver-api-key", &mistyped, &good.expose_secret()[..42], WRONG_CHARACTER] {
        assert_eq!(decide(&env.cache, presented), Outcome::Deny(Malformed));
    }
    futures(env.catch_up());
    assert_eq!(decide(&env.cache, WRONG_CHARACTER), Outcome::Deny(Malformed));
}

// Scenario: the token of a follower and a key are presented with telemetry and by followers. Then
// the token expires, is deleted, and is missing in a restored store.
// Guarantee: the token is unknown with telemetry, and the key is unknown as the token of a
// follower. The token is allowed for following as long as it is valid, and its standing says the
// same. Neither the number of keys nor the totals of their usage include tokens.
#[tokio::test]
async fn a_token_of_a_follower_only_follows() {
    let env = TestEnv::new();
    let tokens = FollowerTokens::new(Arc::clone(&env.cache));
    let follows = |number| match tokens.decide(&credential(key(number).expose_secret())) {
        Ok(Decision::Allow(identity)) => Ok(identity),
        Ok(Decision::Deny(denial)) => Err(Some(denial.reason())),
        Err(_) => Err(None),
    };
    assert!(matches!(follows(1), Err(None)));
    env.insert(2, "key").await;
    let end = NOW.saturating_add(Duration::from_secs(60));
    let role = KeyRole::Follower;
    let token = KeyRecord { role, expires_at: Some(end), ..record(1, "token") };
    let revision = env.write(Write::Insert(token.clone())).await;
    env.catch_up().await;
    assert_eq!(env.decide(1), Outcome::Deny(Unknown));
    let peeked = env.cache.peek(&credential(key(1).expose_secret()));
    assert!(matches!(peeked, Ok(Decision::Deny(denial)) if denial.reason() == Unknown));
    assert!(matches!(follows(2), Err(Some(Unknown))));
    let open = follows(1).unwrap();
    assert_eq!((open.name(), env.cache.standing(&open)), ("token", Standing::Good));
    assert_eq!(env.cache.len(), 1);
    env.clock.advance(Duration::from_secs(60));
    assert!(matches!(follows(1), Err(Some(Expired))));
    assert_eq!(env.cache.standing(&open), Standing::Denied(Expired));
    env.write(Write::Delete(KeyRecord { revision, ..token })).await;
    env.catch_up().await;
    assert!(matches!(follows(1), Err(Some(Revoked))));
    assert_eq!((env.decide(1), env.cache.len()), (Outcome::Deny(Unknown), 1));
    assert_eq!(env.cache.standing(&open), Standing::Denied(Revoked));
    for _ in 0..3 {
        env.cache.flush_usage(&*env.store).await.unwrap();
        assert_eq!(env.cache.usage_totals(), UsageTotals::default());
    }
    env.store.restart([1; 16]);
    env.catch_up().await;
    assert!(matches!(follows(1), Err(Some(Unknown))));
    assert_eq!(env.cache.standing(&open), Standing::Denied(Revoked));
}

// Scenario: a request with each key stays open, and the key is renamed, disabled, enabled, expires,
// is deleted, or is missing in a restored store. Meanwhile the cache becomes too stale to decide,
// and reads its store again.
// Guarantee: the standing of the open request is at each moment what a new request would get. The
// identity of another authenticator stays good, also while the cache is undecided.
#[tokio::test]
async fn the_standing_of_an_open_request_follows_its_key() {
    let env = TestEnv::new();
    let record = env.insert(1, "n").await;
    let secret = key(1);
    let credential = Credential::new("StackState", secret.expose_secret()).unwrap();
    let Ok(Decision::Allow(open)) = env.cache.decide(&credential) else { panic!("it is valid") };
    let standing = || env.cache.standing(&open);
    assert_eq!(standing(), Good);
    let expires_at = NOW.saturating_add(Duration::from_secs(3600));
    let mut revision = record.revision;
    let mut states = Vec::new();
    for (name, enabled, expires_at) in
        [("m", true, None), ("m", false, None), ("m", true, None), ("m", true, Some(expires_at))]
    {
        let name = name.to_owned();
        let update = KeyRecord { name, enabled, expires_at, revision, ..record.clone() };
        revision = env.write(Write::Update(update)).await;
        env.catch_up().await;
        states.push(standing());
    }
    assert_eq!(states, [Good, Denied(Revoked), Good, Good]);
    env.clock.advance(Duration::from_secs(3599));
    let receiver = Identity::new("receiver");
    assert_eq!((standing(), env.cache.standing(&receiver)), (Standing::Undecided, Good));
    env.catch_up().await;
    assert_eq!(standing(), Good);
    env.clock.advance(Duration::from_secs(1));
    assert_eq!(standing(), Denied(Expired));
    env.write(Write::Delete(KeyRecord { revision, ..record })).await;
    env.catch_up().await;
    assert_eq!(standing(), Denied(Revoked));
    env.cache.catch_up(&MemoryStore::new([1; 16])).await.unwrap();
    assert_eq!(standing(), Denied(Revoked));
    assert_eq!(env.cache.standing(&receiver), Good);
}

// Scenario: `decide` and `peek` are called for valid, disabled, expired, deleted and unknown keys.
// Guarantee: `decide` and `peek` return the same verdict. The denial of a known key has the id of
// the key. It also has the name of the key, unless the key was deleted.
#[tokio::test]
async fn every_state_has_its_verdict() {
    let env = TestEnv::new();
    env.insert(1, "good").await;
    let disabled = env.insert(2, "disabled").await;
    env.write(Write::Update(KeyRecord { enabled: false, ..disabled })).await;
    let deleted = env.insert(3, "deleted").await;
    env.write(Write::Delete(deleted)).await;
    let expired = KeyRecord { expires_at: Some(NOW), ..record(5, "expired") };
    env.write(Write::Insert(expired)).await;
    env.catch_up().await;
    assert_eq!((env.decide(1), env.decide(2)), (allow("good"), Outcome::Deny(Revoked)));
    assert_eq!((env.decide(3), env.decide(4)), (Outcome::Deny(Revoked), Outcome::Deny(Unknown)));
    assert_eq!((env.decide(5), env.cache.len()), (Outcome::Deny(Expired), 3));
    for (number, reason, name) in [
        (2, Revoked, Some("disabled")),
        (3, Revoked, Some("")),
        (5, Expired, Some("expired")),
        (4, Unknown, None),
    ] {
        let key = key(number);
        let credential = Credential::new("", key.expose_secret()).unwrap();
        for verdict in [env.cache.decide(&credential), env.cache.peek(&credential)] {
            let Ok(Decision::Deny(denial)) = verdict else { panic!("{number}: {verdict:?}") };
            let identity = denial.identity().map(|identity| (identity.id(), identity.name()));
            assert_eq!(
                (denial.reason(), identity),
                (reason, name.map(|name| (Some(number), name)))
            );
        }
    }
    let good = key(1);
    let peeked = env.cache.peek(&Credential::new("", good.expose_secret()).unwrap());
    assert!(matches!(peeked, Ok(Decision::Allow(identity)) if identity.name() == "good"));
}

// Scenario: `peek` is called for a valid key and for a disabled key, before and after the first
// decision on each key.
// Guarantee: decisions are counted, and calls of `peek` are not.
#[tokio::test]
async fn peeking_counts_nothing() {
    let env = TestEnv::new();
    env.insert(1, "good").await;
    let disabled = env.insert(2, "disabled").await;
    env.write(Write::Update(KeyRecord { enabled: false, ..disabled })).await;
    env.catch_up().await;
    let peek = |number| {
        let key = key(number);
        env.cache.peek(&Credential::new("", key.expose_secret()).unwrap())
    };
    for _ in 0..3 {
        assert!(matches!((peek(1), peek(2)), (Ok(Decision::Allow(_)), Ok(Decision::Deny(_)))));
    }
    env.flush().await;
    assert_eq!((env.usage(1).await, env.usage(2).await), (Usage::default(), Usage::default()));
    assert_eq!((env.decide(1), env.decide(2)), (allow("good"), Outcome::Deny(Revoked)));
    assert!(matches!((peek(1), peek(2)), (Ok(Decision::Allow(_)), Ok(Decision::Deny(_)))));
    env.flush().await;
    assert_eq!((env.usage(1).await.accepted, env.usage(2).await.denied), (1, 1));
}

// Scenario: the wall clock passes the expiration of a key, jumps forward by a year, and jumps back
// to an hour before the expiration.
// Guarantee: the key is valid only before its expiration by the wall clock, exact to the
// millisecond. The staleness of the cache does not change.
#[tokio::test]
async fn expiry_is_exact() {
    let env = TestEnv::new();
    let expires_at = NOW.saturating_add(Duration::from_secs(3600));
    env.write(Write::Insert(KeyRecord { expires_at: Some(expires_at), ..record(1, "n") })).await;
    env.insert(2, "for ever").await;
    let millis = expires_at.as_millis();
    let verdict_at = |millis| {
        env.clock.jump_to(Timestamp::from_millis(millis));
        env.decide(1)
    };
    assert_eq!(verdict_at(millis - 1), allow("n"));
    assert_eq!(verdict_at(millis), Outcome::Deny(Expired));
    assert_eq!(verdict_at(millis + 365 * 86_400_000), Outcome::Deny(Expired));
    assert_eq!(verdict_at(millis - 3_600_000), allow("n"));
    assert_eq!(verdict_at(i64::MAX), Outcome::Deny(Expired));
    assert_eq!((env.decide(2), env.cache.fresh_for()), (allow("for ever"), Some(MAX_STALENESS)));
}

// Scenario: the store cannot be read for `max_staleness`. Then it can be read again.
// Guarantee: the cache decides until `max_staleness` has elapsed, exact to the millisecond. Then
// the cache is undecided, until it has read the store again. A token without the format of a key is
// denied in all these states.
#[tokio::test]
async fn staleness_is_exact() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    env.store.fail(true);
    env.clock.advance(MAX_STALENESS - Duration::from_millis(1));
    env.cache.catch_up(&*env.store).await.unwrap_err();
    assert_eq!((env.decide(1), env.decide(2)), (allow("n"), Outcome::Deny(Unknown)));
    env.clock.advance(Duration::from_millis(1));
    env.cache.catch_up(&*env.store).await.unwrap_err();
    assert_eq!((env.decide(1), env.decide(2)), (Outcome::Undecided, Outcome::Undecided));
    assert_eq!(decide(&env.cache, "receiver-api-key"), Outcome::Deny(Malformed));
    env.store.fail(false);
    env.catch_up().await;
    assert_eq!((env.decide(1), env.decide(2)), (allow("n"), Outcome::Deny(Unknown)));
}

// Scenario: the store begins another history, in which it has only two of the earlier keys.
// Guarantee: the cache has these keys and no others, and follows the new history.
#[tokio::test]
async fn another_history_replaces_everything() {
    let env = TestEnv::new();
    for number in 1..=20 {
        env.insert(number, "old").await;
    }
    let deleted = env.insert(21, "deleted").await;
    env.write(Write::Delete(deleted)).await;
    env.catch_up().await;
    env.store.restart([9; 16]);
    env.insert(1, "kept").await;
    env.insert(21, "back").await;
    assert_eq!(
        (env.decide(1), env.decide(21), env.decide(2)),
        (allow("kept"), allow("back"), Outcome::Deny(Unknown))
    );
    assert_eq!(env.cache.len(), 2);
    // Key 21 had a tombstone before the store began again. That tombstone is gone, so the key stays
    // in the cache when the retention of the tombstone would end.
    env.clock.advance(TOMBSTONE_RETENTION + Duration::from_secs(1));
    env.catch_up().await;
    assert_eq!(env.decide(21), allow("back"));
    env.insert(30, "new").await;
    assert_eq!(env.decide(30), allow("new"));
}

// Scenario: the deletion of a key is applied directly to the cache. Then the cache reads an earlier
// change of the key.
// Guarantee: the newest change stays in force, and the key stays deleted.
#[tokio::test]
async fn what_is_newer_stays() {
    let env = TestEnv::new();
    let key = env.insert(1, "n").await;
    env.cache.apply(&[change(1, key.revision + 5, KeyState::Deleted { at: NOW })]);
    env.cache.apply(&[Change::from(&key)]);
    env.catch_up().await;
    assert_eq!((env.decide(1), env.cache.len()), (Outcome::Deny(Revoked), 0));
}

proptest! {
    // Scenario: the changes of some keys arrive in a random order. In some runs, every change
    // arrives a second time.
    // Guarantee: each key has the state of its newest change.
    #[test]
    fn order_and_repetition_do_not_matter(kinds in prop::collection::vec((1..5_i64, 0..3_u8), 1..20), order: prop::sample::Index, again: bool) {
        let env = TestEnv::new();
        futures(env.catch_up());
        let changes: Vec<_> = kinds.iter().zip(1..).map(|(&(number, kind), revision)| {
            let state = match kind {
                0 => KeyState::Deleted { at: NOW },
                1 => KeyState::Live { name: revision.to_string(), expires_at: None, enabled: false },
                _ => live(&revision.to_string()),
            };
            change(number, revision, state)
        }).collect();
        let mut shuffled = changes.clone();
        shuffled.rotate_left(order.index(changes.len()));
        shuffled.reverse();
        if again {
            shuffled.extend(changes.clone());
        }
        shuffled.iter().for_each(|change| env.cache.apply(std::slice::from_ref(change)));
        for newest in changes.iter().filter(|change| changes.iter().all(|other| other.id != change.id || other.revision <= change.revision)) {
            let expected = match &newest.state {
                KeyState::Live { name, enabled: true, .. } => allow(name),
                _ => Outcome::Deny(Revoked),
            };
            prop_assert_eq!(env.decide(newest.id.get().unsigned_abs()), expected);
        }
    }
}

/// Runs a future to its end, on a runtime without other tasks.
fn futures<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

// Scenario: valid, disabled, deleted, unknown and malformed keys are presented again after their
// first use.
// Guarantee: a decision allocates nothing, although the denial of a known key names the key.
#[tokio::test]
async fn a_decision_allocates_nothing() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    env.write(Write::Insert(KeyRecord { enabled: false, ..record(2, "n") })).await;
    let deleted = env.insert(3, "n").await;
    env.write(Write::Delete(deleted)).await;
    env.catch_up().await;
    let keys: Vec<_> = (1..=4).map(key).collect();
    let presented: Vec<_> =
        keys.iter().map(IngestionKey::expose_secret).chain(["receiver-api-key"]).collect();
    for presented in presented {
        let credential = Credential::new("StackState", presented).unwrap();
        let decide = || drop(env.cache.decide(&credential));
        decide();
        assert_eq!(allocation_counter::measure(|| (0..100).for_each(|_| decide())).count_total, 0);
    }
}

// Scenario: one key stays, while thousands of other keys are created and deleted. Each of these
// other keys is presented before and after its deletion.
// Guarantee: the first key is allowed all the time. No other key is allowed after its deletion.
#[test]
fn decisions_go_on_while_keys_change() {
    let env = TestEnv::new();
    futures(env.insert(1, "always"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(env.decide(1), allow("always"));
            }
        });
        for number in 2..3000_i64 {
            env.cache.apply(&[change(number, 2 * number, live("n"))]);
            assert_eq!(env.decide(number.unsigned_abs()), allow("n"));
            env.cache.apply(&[change(number, 2 * number + 1, KeyState::Deleted { at: NOW })]);
            assert_eq!(env.decide(number.unsigned_abs()), Outcome::Deny(Revoked));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(env.cache.len(), 1);
}

// Scenario: an observer comes after the cache has read its store. Then a key is inserted, nothing
// changes, and the store begins another history.
// Guarantee: the observer is told of the position at once, and after each read of what was read.
#[tokio::test]
async fn an_observer_sees_every_read() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = Arc::clone(&seen);
    let observe = move |progress: Progress<'_>| {
        let changes = progress.changes.map(<[_]>::len);
        observer.lock().unwrap().push((changes, progress.cursor.revision, progress.as_of));
    };
    let began = env.clock.monotonic();
    env.clock.advance(Duration::from_secs(1));
    env.cache.observe(observe);
    let read = env.clock.monotonic();
    env.insert(2, "n").await;
    env.catch_up().await;
    env.store.restart([1; 16]);
    env.catch_up().await;
    let expected = [(None, 1, began), (Some(1), 2, read), (Some(0), 2, read), (None, 0, read)];
    assert_eq!(*seen.lock().unwrap(), expected);
}
