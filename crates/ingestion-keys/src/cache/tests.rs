use std::net::IpAddr;

use otlp_auth::DenyReason::{Expired, Malformed, Revoked, Unknown};
use otlp_auth::server::InMemoryAuthenticator;
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::fixture::{NOW, Says, allow, commit, key, record, says};
use crate::key::{KeyId, KeyRecord, Usage};
use crate::store::{KeyStore, MemoryStore, Write};

const MAX_STALENESS: Duration = Duration::from_secs(600);

/// Of the length of a key, with its prefix and the right checksum, and with a character that no key
/// has.
const WRONG_CHARACTER: &str = "iapikeyok-1234567_-9ABCDEFG-HIJKLMNO-151WRN";

struct House {
    cache: Arc<KeyCache>,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl House {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let options = KeyCacheOptions { max_clients: 2, ..KeyCacheOptions::default() };
        let cache = Arc::new(KeyCache::new(clock.clone(), options));
        Self { cache, store: Arc::new(MemoryStore::new([0; 16])), clock }
    }

    async fn write(&self, write: Write) -> i64 {
        self.store.commit(commit(1, vec![write])).await.unwrap().revision
    }

    /// A key that is in the store and on the cache.
    async fn insert(&self, number: i64, name: &str) -> KeyRecord {
        let revision = self.write(Write::Insert(record(number, name))).await;
        self.catch_up().await;
        KeyRecord { revision, ..record(number, name) }
    }

    async fn catch_up(&self) {
        self.cache.catch_up(&*self.store).await.unwrap();
    }

    fn says(&self, number: u64) -> Says {
        says(&self.cache, key(number).expose_secret())
    }

    async fn flush(&self) {
        self.cache.flush_usage(&*self.store).await.unwrap();
    }

    async fn usage(&self, number: i64) -> Usage {
        self.store.get(KeyId::new(number).unwrap()).await.unwrap().unwrap().usage
    }
}

fn change(number: i64, revision: i64, state: KeyState) -> Change {
    Change { revision, state, ..Change::from(&record(number, "")) }
}

fn live(name: &str) -> KeyState {
    KeyState::Live { name: name.to_owned(), expires_at: None, enabled: true }
}

// Scenario: a cache that has read nothing is asked about a good key, and about things that are no
// key. Guarantee: the key is undecided, the rest is refused.
#[test]
fn before_the_first_snapshot_only_formats_are_decided() {
    let house = House::new();
    house.cache.apply(&[change(1, 1, live("n"))]);
    assert_eq!(house.says(1), Says::Undecided);
    assert_eq!(house.cache.fresh_for(), None);
    let good = key(1);
    let mistyped = good.expose_secret().replace(good.start(), "0000");
    for presented in ["receiver-api-key", &mistyped, &good.expose_secret()[..42], WRONG_CHARACTER] {
        assert_eq!(says(&house.cache, presented), Says::Deny(Malformed));
    }
    futures(house.catch_up());
    assert_eq!(says(&house.cache, WRONG_CHARACTER), Says::Deny(Malformed));
}

// Scenario: keys that are good, disabled, expired, deleted and nobody's are decided on and peeked
// at.
// Guarantee: both have the same verdict; a refusal names the key by its id, and by its name while
// the store has it.
#[tokio::test]
async fn every_state_has_its_verdict() {
    let house = House::new();
    house.insert(1, "good").await;
    let disabled = house.insert(2, "disabled").await;
    house.write(Write::Update(KeyRecord { enabled: false, ..disabled })).await;
    let deleted = house.insert(3, "deleted").await;
    house.write(Write::Delete(deleted)).await;
    let expired = KeyRecord { expires_at: Some(NOW), ..record(5, "expired") };
    house.write(Write::Insert(expired)).await;
    house.catch_up().await;
    assert_eq!((house.says(1), house.says(2)), (allow("good"), Says::Deny(Revoked)));
    assert_eq!((house.says(3), house.says(4)), (Says::Deny(Revoked), Says::Deny(Unknown)));
    assert_eq!((house.says(5), house.cache.len()), (Says::Deny(Expired), 3));
    for (number, reason, name) in [
        (2, Revoked, Some("disabled")),
        (3, Revoked, Some("")),
        (5, Expired, Some("expired")),
        (4, Unknown, None),
    ] {
        let key = key(number);
        let credential = Credential::new("", key.expose_secret()).unwrap();
        for verdict in [house.cache.decide(&credential), house.cache.peek(&credential)] {
            let Ok(Decision::Deny(denial)) = verdict else { panic!("{number}: {verdict:?}") };
            let identity = denial.identity().map(|identity| (identity.id(), identity.name()));
            assert_eq!(
                (denial.reason(), identity),
                (reason, name.map(|name| (Some(number), name)))
            );
        }
    }
    let good = key(1);
    let peeked = house.cache.peek(&Credential::new("", good.expose_secret()).unwrap());
    assert!(matches!(peeked, Ok(Decision::Allow(identity)) if identity.name() == "good"));
}

// Scenario: a key is peeked at before its first use and after it, and a disabled one too.
// Guarantee: only decisions are counted as use.
#[tokio::test]
async fn peeking_counts_nothing() {
    let house = House::new();
    house.insert(1, "good").await;
    let disabled = house.insert(2, "disabled").await;
    house.write(Write::Update(KeyRecord { enabled: false, ..disabled })).await;
    house.catch_up().await;
    let peek = |number| {
        let key = key(number);
        house.cache.peek(&Credential::new("", key.expose_secret()).unwrap())
    };
    for _ in 0..3 {
        assert!(matches!((peek(1), peek(2)), (Ok(Decision::Allow(_)), Ok(Decision::Deny(_)))));
    }
    house.flush().await;
    assert_eq!((house.usage(1).await, house.usage(2).await), (Usage::default(), Usage::default()));
    assert_eq!((house.says(1), house.says(2)), (allow("good"), Says::Deny(Revoked)));
    assert!(matches!((peek(1), peek(2)), (Ok(Decision::Allow(_)), Ok(Decision::Deny(_)))));
    house.flush().await;
    assert_eq!((house.usage(1).await.accepted, house.usage(2).await.denied), (1, 1));
}

// Scenario: the wall clock passes a key's end by milliseconds, jumps back an hour, and forward a
// year. Guarantee: the key is good strictly before its end by the wall clock, and staleness does
// not change.
#[tokio::test]
async fn expiry_is_exact() {
    let house = House::new();
    let expires_at = NOW.saturating_add(Duration::from_secs(3600));
    house.write(Write::Insert(KeyRecord { expires_at: Some(expires_at), ..record(1, "n") })).await;
    house.insert(2, "for ever").await;
    let millis = expires_at.as_millis();
    let verdict_at = |millis| {
        house.clock.jump_to(Timestamp::from_millis(millis));
        house.says(1)
    };
    assert_eq!(verdict_at(millis - 1), allow("n"));
    assert_eq!(verdict_at(millis), Says::Deny(Expired));
    assert_eq!(verdict_at(millis + 365 * 86_400_000), Says::Deny(Expired));
    assert_eq!(verdict_at(millis - 3_600_000), allow("n"));
    assert_eq!(verdict_at(i64::MAX), Says::Deny(Expired));
    assert_eq!((house.says(2), house.cache.fresh_for()), (allow("for ever"), Some(MAX_STALENESS)));
}

// Scenario: the store cannot be read for as long as the cache may go on, and then again. Guarantee:
// it decides until exactly then, is undecided from then on, and decides again; no-keys are refused
// throughout.
#[tokio::test]
async fn staleness_is_exact() {
    let house = House::new();
    house.insert(1, "n").await;
    house.store.fail(true);
    house.clock.advance(MAX_STALENESS - Duration::from_millis(1));
    house.cache.catch_up(&*house.store).await.unwrap_err();
    assert_eq!((house.says(1), house.says(2)), (allow("n"), Says::Deny(Unknown)));
    house.clock.advance(Duration::from_millis(1));
    house.cache.catch_up(&*house.store).await.unwrap_err();
    assert_eq!((house.says(1), house.says(2)), (Says::Undecided, Says::Undecided));
    assert_eq!(says(&house.cache, "receiver-api-key"), Says::Deny(Malformed));
    house.store.fail(false);
    house.catch_up().await;
    assert_eq!((house.says(1), house.says(2)), (allow("n"), Says::Deny(Unknown)));
}

// Scenario: the store begins another history, with one of the keys and a new one.
// Guarantee: the cache has that and nothing else, and follows it.
#[tokio::test]
async fn another_history_replaces_everything() {
    let house = House::new();
    for number in 1..=20 {
        house.insert(number, "old").await;
    }
    let deleted = house.insert(21, "deleted").await;
    house.write(Write::Delete(deleted)).await;
    house.catch_up().await;
    house.store.restart([9; 16]);
    house.insert(1, "kept").await;
    house.insert(21, "back").await;
    assert_eq!(
        (house.says(1), house.says(21), house.says(2)),
        (allow("kept"), allow("back"), Says::Deny(Unknown))
    );
    assert_eq!(house.cache.len(), 2);
    // The tombstone is gone with the old history: nothing ends the key when it would have been
    // forgotten.
    house.clock.advance(TOMBSTONE_RETENTION + Duration::from_secs(1));
    house.catch_up().await;
    assert_eq!(house.says(21), allow("back"));
    house.insert(30, "new").await;
    assert_eq!(house.says(30), allow("new"));
}

// Scenario: a change is put in force by whoever made it, and the store is read before and after
// with older news. Guarantee: the newest stays, and a deleted key does not come back.
#[tokio::test]
async fn what_is_newer_stays() {
    let house = House::new();
    let key = house.insert(1, "n").await;
    house.cache.apply(&[change(1, key.revision + 5, KeyState::Deleted { at: NOW })]);
    house.cache.apply(&[Change::from(&key)]);
    house.catch_up().await;
    assert_eq!((house.says(1), house.cache.len()), (Says::Deny(Revoked), 0));
}

proptest! {
    // Scenario: the changes of some keys arrive in any order, some of them again.
    // Guarantee: each key is decided as its newest change says.
    #[test]
    fn order_and_repetition_do_not_matter(kinds in prop::collection::vec((1..5_i64, 0..3_u8), 1..20), order: prop::sample::Index, again: bool) {
        let house = House::new();
        futures(house.catch_up());
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
        shuffled.iter().for_each(|change| house.cache.apply(std::slice::from_ref(change)));
        for newest in changes.iter().filter(|change| changes.iter().all(|other| other.id != change.id || other.revision <= change.revision)) {
            let expected = match &newest.state {
                KeyState::Live { name, enabled: true, .. } => allow(name),
                _ => Says::Deny(Revoked),
            };
            prop_assert_eq!(house.says(newest.id.get().unsigned_abs()), expected);
        }
    }
}

/// Runs what does not wait.
fn futures<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Waits for what another task is about to bring about. Time stands still unless every task waits
/// for it.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

fn follow(house: &House) -> tokio::task::JoinHandle<()> {
    let (cache, store) = (Arc::clone(&house.cache), Arc::clone(&house.store));
    tokio::spawn(async move {
        cache.follow(&*store, Duration::from_secs(5)).await;
    })
}

// Scenario: a key is written behind the back of a cache that follows.
// Guarantee: it is in force without the time passing that the cache waits between two readings.
#[tokio::test(start_paused = true)]
async fn a_follower_is_woken() {
    let house = House::new();
    let follower = follow(&house);
    let start = tokio::time::Instant::now();
    house.write(Write::Insert(record(1, "n"))).await;
    until(|| house.says(1) == allow("n")).await;
    house.write(Write::Insert(record(2, "n"))).await;
    until(|| house.says(2) == allow("n")).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    follower.abort();
}

// Scenario: the notifications of the store get lost; later the store fails for a while.
// Guarantee: a change is in force after the next reading; the follower goes on.
#[tokio::test(start_paused = true)]
async fn a_follower_polls() {
    let house = House::new();
    house.store.mute();
    let follower = follow(&house);
    until(|| house.cache.fresh_for().is_some()).await;
    house.write(Write::Insert(record(1, "n"))).await;
    tokio::time::sleep(Duration::from_millis(5001)).await;
    assert_eq!(house.says(1), allow("n"));
    house.store.fail(true);
    house.clock.advance(MAX_STALENESS);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(house.says(1), Says::Undecided);
    house.store.fail(false);
    tokio::time::sleep(Duration::from_millis(5001)).await;
    assert_eq!(house.says(1), allow("n"));
    follower.abort();
}

// Scenario: a key is let in and refused after its end, the store fails at the first flush, and the
// key is renamed in between. Guarantee: everything is counted once, whether asked for before or
// after a flush; last use is the flush's time.
#[tokio::test]
async fn usage_is_counted_once() {
    let house = House::new();
    let key = house.insert(1, "n").await;
    let pending = async || {
        let stored = house.store.get(key.id).await.unwrap().unwrap();
        house.cache.pending_usage().await.added_to(stored, NOW).usage
    };
    let usage =
        |accepted, denied| Usage { accepted, denied, last_used_at: Some(NOW), ..Usage::default() };
    for _ in 0..3 {
        assert_eq!(house.says(1), allow("n"));
    }
    house.store.fail(true);
    house.cache.flush_usage(&*house.store).await.unwrap_err();
    house.store.fail(false);
    assert_eq!(pending().await, usage(3, 0));
    let renamed = KeyRecord { name: "m".to_owned(), ..key.clone() };
    let revision = house.write(Write::Update(renamed.clone())).await;
    house.catch_up().await;
    assert_eq!(house.says(1), allow("m"));
    house.write(Write::Update(KeyRecord { enabled: false, revision, ..renamed })).await;
    house.catch_up().await;
    assert_eq!((house.says(1), house.says(1)), (Says::Deny(Revoked), Says::Deny(Revoked)));
    assert_eq!(pending().await, usage(4, 2));
    house.flush().await;
    assert_eq!((house.usage(1).await, pending().await), (usage(4, 2), usage(4, 2)));
    house.clock.advance(Duration::from_secs(10));
    house.flush().await;
    assert_eq!(house.usage(1).await, usage(4, 2));
}

// Scenario: bytes and places are told through the handle of an identity, more places than are kept.
// Guarantee: bytes add up; the latest places stay, with the flush's time.
#[tokio::test]
async fn the_handle_leads_to_the_key() {
    let house = House::new();
    house.insert(1, "n").await;
    let credential = key(1);
    let credential = Credential::new("StackState", credential.expose_secret()).unwrap();
    let Ok(Decision::Allow(identity)) = house.cache.decide(&credential) else {
        panic!("it is good")
    };
    assert_eq!((identity.name(), identity.id()), ("n", Some(1)));
    let handle = identity.handle::<KeyHandle>().unwrap();
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    for last in [1, 2, 3, 2] {
        handle.add_bytes(100);
        handle.add_client(address(last), Some(&"a".repeat(1000)));
    }
    house.flush().await;
    house.clock.advance(Duration::from_secs(10));
    handle.add_client(address(3), None);
    house.flush().await;
    let usage = house.usage(1).await;
    assert_eq!((usage.accepted, usage.bytes), (1, 400));
    let places: Vec<_> =
        usage.clients.iter().map(|client| (client.address, client.user_agent.as_deref())).collect();
    assert_eq!(places[0], (address(3), None));
    assert_eq!(places[1].1.map(str::len), Some(128));
    assert_eq!(places.len(), 2);
}

// Scenario: a used key is deleted, and others are; usage is flushed.
// Guarantee: nothing is remembered of their usage but for one flush.
#[tokio::test]
async fn the_usage_of_deleted_keys_is_forgotten() {
    let house = House::new();
    for number in 1..=10 {
        let key = house.insert(number, "n").await;
        assert_eq!(house.says(number.unsigned_abs()), allow("n"));
        house.write(Write::Delete(key)).await;
    }
    house.catch_up().await;
    house.flush().await;
    house.flush().await;
    assert_eq!(format!("{:?}", house.cache.usage), "Registry { used: 0, .. }");
}

// Scenario: keys that nobody has are presented, and things that are no keys.
// Guarantee: nothing is remembered of them.
#[tokio::test]
async fn junk_is_not_remembered() {
    let house = House::new();
    house.catch_up().await;
    for number in 0..10_000 {
        assert_eq!(house.says(number), Says::Deny(Unknown));
    }
    assert_eq!(
        (house.cache.keys.len(), format!("{:?}", house.cache.usage).as_str()),
        (0, "Registry { used: 0, .. }")
    );
}

// Scenario: a key is used from several threads before and after it is found to be busy.
// Guarantee: every use is counted, and each thread has its own counter from then on.
#[tokio::test]
async fn a_busy_key_is_counted_exactly() {
    const THREADS: u64 = 4;
    const USES: u64 = 5000;
    let house = House::new();
    house.insert(1, "n").await;
    let use_it = || {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..USES).for_each(|_| assert_eq!(house.says(1), allow("n"))));
            }
        });
    };
    use_it();
    house.flush().await;
    use_it();
    house.flush().await;
    assert_eq!(house.usage(1).await.accepted, 2 * THREADS * USES);
}

// Scenario: keys are decided on that were used once before: good, disabled, deleted, unknown,
// malformed.
// Guarantee: nothing is allocated, although refusals of known keys say whose they are.
#[tokio::test]
async fn a_decision_allocates_nothing() {
    let house = House::new();
    house.insert(1, "n").await;
    house.write(Write::Insert(KeyRecord { enabled: false, ..record(2, "n") })).await;
    let deleted = house.insert(3, "n").await;
    house.write(Write::Delete(deleted)).await;
    house.catch_up().await;
    let keys: Vec<_> = (1..=4).map(key).collect();
    let presented: Vec<_> =
        keys.iter().map(IngestionKey::expose_secret).chain(["receiver-api-key"]).collect();
    for presented in presented {
        let credential = Credential::new("StackState", presented).unwrap();
        let decide = || drop(house.cache.decide(&credential));
        decide();
        assert_eq!(allocation_counter::measure(|| (0..100).for_each(|_| decide())).count_total, 0);
    }
}

// Scenario: a key is always there while others come and go by the thousand, and each that goes is
// presented after that. Guarantee: the first is let in throughout; none of the others once it is
// gone.
#[test]
fn decisions_go_on_while_keys_change() {
    let house = House::new();
    futures(house.insert(1, "always"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(house.says(1), allow("always"));
            }
        });
        for number in 2..3000_i64 {
            house.cache.apply(&[change(number, 2 * number, live("n"))]);
            assert_eq!(house.says(number.unsigned_abs()), allow("n"));
            house.cache.apply(&[change(number, 2 * number + 1, KeyState::Deleted { at: NOW })]);
            assert_eq!(house.says(number.unsigned_abs()), Says::Deny(Revoked));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(house.cache.len(), 1);
}
