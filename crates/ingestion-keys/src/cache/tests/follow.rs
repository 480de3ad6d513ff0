//! Tests of following a store.

use super::*;
use crate::clock::Timestamp;
use crate::store::StoreErrorKind;

/// Waits until another task has made the condition true. Tokio's paused clock does not advance
/// meanwhile, because this task never sleeps.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

fn follow(env: &TestEnv) -> tokio::task::JoinHandle<()> {
    let (cache, store) = (Arc::clone(&env.cache), Arc::clone(&env.store));
    tokio::spawn(async move {
        cache.follow(&*store, Duration::from_secs(5)).await;
    })
}

// Scenario: a key is written to the store that a cache follows.
// Guarantee: the key is in force before the poll interval has elapsed.
#[tokio::test(start_paused = true)]
async fn a_follower_is_woken() {
    let env = TestEnv::new();
    let follower = follow(&env);
    let start = tokio::time::Instant::now();
    env.write(Write::Insert(record(1, "n"))).await;
    until(|| env.decide(1) == allow("n")).await;
    env.write(Write::Insert(record(2, "n"))).await;
    until(|| env.decide(2) == allow("n")).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    follower.abort();
}

// Scenario: the notifications of the store are lost. Later the store fails for a while.
// Guarantee: a change is in force after the next poll. After the failure, the follower reads the
// store again.
#[tokio::test(start_paused = true)]
async fn a_follower_polls() {
    let env = TestEnv::new();
    env.store.mute();
    let follower = follow(&env);
    until(|| env.cache.fresh_for().is_some()).await;
    env.write(Write::Insert(record(1, "n"))).await;
    tokio::time::sleep(Duration::from_millis(5001)).await;
    assert_eq!(env.decide(1), allow("n"));
    env.store.fail(true);
    env.clock.advance(MAX_STALENESS);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(env.decide(1), Outcome::Undecided);
    env.store.fail(false);
    tokio::time::sleep(Duration::from_millis(5001)).await;
    assert_eq!(env.decide(1), allow("n"));
    follower.abort();
}

// Scenario: the store fails for a moment. Then it fails for a minute, and notifies its followers
// when it can be read again.
// Guarantee: after the first failure, the store is read again within 100 ms. After a minute of
// failures, it is read again soon after the notification, before the poll interval has elapsed.
#[tokio::test(start_paused = true)]
async fn a_follower_tries_again_soon() {
    let env = TestEnv::new();
    let follower = follow(&env);
    until(|| env.cache.fresh_for().is_some()).await;
    env.store.mute();
    env.store.fail(true);
    env.store.wake();
    until(|| env.store.failures() == 1).await;
    env.store.fail(false);
    env.write(Write::Insert(record(1, "n"))).await;
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert_eq!(env.decide(1), allow("n"));
    env.store.fail(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    env.store.fail(false);
    env.write(Write::Insert(record(2, "n"))).await;
    env.store.wake();
    tokio::time::sleep(Duration::from_millis(626)).await;
    assert_eq!(env.decide(2), allow("n"));
    follower.abort();
}

// Scenario: a store fails for a minute, and notifies its followers again and again.
// Guarantee: the store is read again only a few times a second.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_and_wakes_is_read_seldom() {
    let env = TestEnv::new();
    env.store.fail(true);
    let follower = follow(&env);
    for _ in 0..60_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        env.store.wake();
    }
    let failures = env.store.failures();
    assert!((12..120).contains(&failures), "{failures}");
    follower.abort();
}

// Scenario: a store cannot be reached at the start, and later it can. Another store was made by a
// newer version.
// Guarantee: the first store is waited for, and its keys are in force when the call returns. The
// error of the second store is returned at once.
#[tokio::test(start_paused = true)]
async fn only_a_store_that_is_down_is_waited_for() {
    let env = TestEnv::new();
    env.write(Write::Insert(record(1, "n"))).await;
    env.store.fail(true);
    let (cache, store) = (Arc::clone(&env.cache), Arc::clone(&env.store));
    let first =
        tokio::spawn(async move { cache.read_first(&*store, Duration::from_secs(5)).await });
    until(|| env.store.failures() > 0).await;
    assert_eq!((env.decide(1), env.cache.revision()), (Outcome::Undecided, None));
    env.store.fail(false);
    first.await.unwrap().unwrap();
    assert_eq!((env.decide(1), env.cache.revision()), (allow("n"), Some(1)));
    env.store.fail_with(StoreErrorKind::TooNew);
    let error = env.cache.read_first(&*env.store, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::TooNew);
}

// Scenario: the machine is suspended, first for less than the maximum staleness. Meanwhile the
// store cannot be read.
// Guarantee: the suspension makes the keys older by its whole time, once. The next read makes them
// young again. A cache that was never read stays so.
#[tokio::test(start_paused = true)]
async fn a_suspension_makes_the_keys_older() {
    let env = TestEnv::new();
    env.clock.suspend(MAX_STALENESS);
    env.cache.notice_suspension();
    assert_eq!((env.cache.age(), env.cache.revision()), (None, None));
    env.insert(1, "n").await;
    assert_eq!(env.cache.fresh_for(), Some(MAX_STALENESS));
    env.store.fail(true);
    let follower = follow(&env);
    for (suspended, expected) in [(1, allow("n")), (598, allow("n")), (1, Outcome::Undecided)] {
        env.clock.suspend(Duration::from_secs(suspended));
        tokio::time::sleep(Duration::from_millis(5001)).await;
        assert_eq!(env.decide(1), expected);
    }
    assert_eq!(env.cache.age(), Some(MAX_STALENESS));
    env.store.fail(false);
    tokio::time::sleep(Duration::from_millis(5001)).await;
    assert_eq!(env.cache.fresh_for(), Some(MAX_STALENESS));
    follower.abort();
}

/// A clock that is suspended for a second between any two looks at it.
#[derive(Debug)]
struct Drowsy(ManualClock);

impl Clock for Drowsy {
    fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn suspended(&self) -> Duration {
        self.0.suspend(Duration::from_secs(1));
        self.0.suspended()
    }
}

// Scenario: the machine is suspended while a cache reads its store.
// Guarantee: what was read is as old as the suspension was long.
#[tokio::test]
async fn a_suspension_during_a_read_counts() {
    let clock = Arc::new(Drowsy(ManualClock::at(NOW)));
    let cache = KeyCache::new(clock, KeyCacheOptions::default());
    cache.catch_up(&MemoryStore::new([0; 16])).await.unwrap();
    assert_eq!(cache.age(), Some(Duration::from_secs(1)));
}
