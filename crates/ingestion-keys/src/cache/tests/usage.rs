//! Tests of the counted usage of keys.

use std::net::IpAddr;

use otlp_auth::Identity;

use super::*;
use crate::key::KeyClient;

// Scenario: a request is denied because its key was deleted.
// Guarantee: the request is not counted, because the counters of a deleted key are never flushed.
#[tokio::test]
async fn a_deleted_key_counts_nothing() {
    let env = TestEnv::new();
    let record = env.insert(1, "edge").await;
    env.write(Write::Delete(record)).await;
    env.catch_up().await;
    let key = key(1);
    let credential = Credential::new("StackState", key.expose_secret()).unwrap();
    let Ok(Decision::Deny(denial)) = env.cache.decide(&credential) else {
        panic!("the key was deleted");
    };
    let handle: &KeyHandle = denial.identity().unwrap().handle().unwrap();
    assert_eq!(handle.denied.load(Ordering::Relaxed), 0);
}

// Scenario: a key is allowed, renamed, allowed again, disabled and denied. The store fails at the
// first flush.
// Guarantee: every request is counted once, both before and after a flush. The last use is the time
// of the flush.
#[tokio::test]
async fn usage_is_counted_once() {
    let env = TestEnv::new();
    let key = env.insert(1, "n").await;
    let pending = async || {
        let stored = env.store.get(key.id).await.unwrap().unwrap();
        env.cache.pending_usage().await.added_to(stored, NOW).usage
    };
    let usage =
        |accepted, denied| Usage { accepted, denied, last_used_at: Some(NOW), ..Usage::default() };
    for _ in 0..3 {
        assert_eq!(env.decide(1), allow("n"));
    }
    env.store.fail(true);
    env.cache.flush_usage(&*env.store).await.unwrap_err();
    env.store.fail(false);
    assert_eq!(pending().await, usage(3, 0));
    let renamed = KeyRecord { name: "m".to_owned(), ..key.clone() };
    let revision = env.write(Write::Update(renamed.clone())).await;
    env.catch_up().await;
    assert_eq!(env.decide(1), allow("m"));
    env.write(Write::Update(KeyRecord { enabled: false, revision, ..renamed })).await;
    env.catch_up().await;
    assert_eq!((env.decide(1), env.decide(1)), (Outcome::Deny(Revoked), Outcome::Deny(Revoked)));
    assert_eq!(pending().await, usage(4, 2));
    env.flush().await;
    assert_eq!((env.usage(1).await, pending().await), (usage(4, 2), usage(4, 2)));
    env.clock.advance(Duration::from_secs(10));
    env.flush().await;
    assert_eq!(env.usage(1).await, usage(4, 2));
}

// Scenario: the answers to requests are reported. Then the key is renamed while a request is in
// flight, the usage is flushed several times, and the answer to this request is reported.
// Guarantee: a request is counted once, as accepted or as failed, when its answer is reported, and
// not before. The last use is the time of the flush after it.
#[tokio::test]
async fn an_answer_is_counted_when_it_is_reported() {
    let options = KeyCacheOptions { answers_are_reported: true, ..KeyCacheOptions::default() };
    let env = TestEnv::with(options);
    let key = env.insert(1, "n").await;
    let secret = super::key(1);
    let allowed = || {
        let credential = Credential::new("StackState", secret.expose_secret()).unwrap();
        let Ok(Decision::Allow(identity)) = env.cache.decide(&credential) else {
            panic!("the key is valid")
        };
        identity
    };
    let report =
        |identity: Identity, success| identity.handle::<KeyHandle>().unwrap().add_answer(success);
    let [first, second, third] = [allowed(), allowed(), allowed()];
    env.flush().await;
    assert_eq!(env.usage(1).await, Usage::default());
    report(first, true);
    report(second, false);
    let stored = env.store.get(key.id).await.unwrap().unwrap();
    let counted = env.cache.pending_usage().await.added_to(stored, NOW).usage;
    assert_eq!((counted.accepted, counted.failed), (1, 1));
    env.write(Write::Update(KeyRecord { name: "m".to_owned(), ..key })).await;
    env.catch_up().await;
    assert_eq!(allowed().name(), "m");
    for _ in 0..3 {
        env.flush().await;
    }
    env.clock.advance(Duration::from_secs(10));
    report(third, false);
    env.flush().await;
    let last_used_at = Some(NOW.saturating_add(Duration::from_secs(10)));
    let expected = Usage { accepted: 1, failed: 2, last_used_at, ..Usage::default() };
    assert_eq!(env.usage(1).await, expected);
}

// Scenario: a program that does not say that it reports its answers reports one.
// Guarantee: the report is ignored, so that the request is not counted twice.
#[tokio::test]
async fn an_unexpected_report_is_ignored() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    let secret = key(1);
    let credential = Credential::new("StackState", secret.expose_secret()).unwrap();
    let Ok(Decision::Allow(identity)) = env.cache.decide(&credential) else {
        panic!("the key is valid")
    };
    identity.handle::<KeyHandle>().unwrap().add_answer(false);
    env.flush().await;
    let usage = env.usage(1).await;
    assert_eq!((usage.accepted, usage.failed), (1, 0));
}

// Scenario: bytes are added through the handle of an identity. More clients than the cache keeps
// are added through the handle too.
// Guarantee: the bytes add up. The latest clients are kept, the latest first.
#[tokio::test]
async fn the_handle_leads_to_the_key() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    let credential = key(1);
    let credential = Credential::new("StackState", credential.expose_secret()).unwrap();
    let Ok(Decision::Allow(identity)) = env.cache.decide(&credential) else {
        panic!("the key is valid")
    };
    assert_eq!((identity.name(), identity.id()), ("n", Some(1)));
    let handle = identity.handle::<KeyHandle>().unwrap();
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    for last in [1, 2, 3, 2] {
        handle.add_bytes(100);
        handle.add_client(address(last), Some(&"a".repeat(1000)));
    }
    env.flush().await;
    env.clock.advance(Duration::from_secs(10));
    handle.add_client(address(3), None);
    env.flush().await;
    let usage = env.usage(1).await;
    assert_eq!((usage.accepted, usage.bytes), (1, 400));
    let clients: Vec<_> =
        usage.clients.iter().map(|client| (client.address, client.user_agent.as_deref())).collect();
    assert_eq!(clients[0], (address(3), None));
    assert_eq!(clients[1].1.map(str::len), Some(128));
    assert_eq!(clients.len(), 2);
}

// Scenario: a client uses a key several times within a minute, and the usage is flushed each time.
// Then a new client uses the key, and then the minute is over. At the end, the last usage is
// flushed.
// Guarantee: a new client is in the store after the next flush. The last use of a client that is
// there already is pending until a minute is over, and is then stored with its own time. The last
// flush stores it in any case.
#[tokio::test]
async fn a_known_client_is_flushed_once_a_minute() {
    let env = TestEnv::new();
    let record = env.insert(1, "n").await;
    let credential = key(1);
    let credential = Credential::new("StackState", credential.expose_secret()).unwrap();
    let Ok(Decision::Allow(identity)) = env.cache.decide(&credential) else {
        panic!("the key is valid")
    };
    let handle = identity.handle::<KeyHandle>().unwrap();
    let pass = |seconds| env.clock.advance(Duration::from_secs(seconds));
    let used_by = async |last: u8| {
        handle.add_client(IpAddr::from([192, 0, 2, last]), None);
        env.flush().await;
    };
    let at = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
    let client = |last: u8, seconds| KeyClient {
        address: IpAddr::from([192, 0, 2, last]),
        user_agent: None,
        last_used_at: at(seconds),
    };
    let stored = async || env.store.get(record.id).await.unwrap().unwrap();
    used_by(1).await;
    assert_eq!(stored().await.usage.clients, [client(1, 0)]);
    pass(10);
    used_by(1).await;
    pass(10);
    used_by(2).await;
    assert_eq!(stored().await.usage.clients, [client(2, 20), client(1, 0)]);
    let known = env.cache.pending_usage().await.added_to(stored().await, at(20));
    assert_eq!(known.usage.clients, [client(2, 20), client(1, 10)]);
    pass(40);
    env.flush().await;
    assert_eq!(stored().await.usage.clients, [client(2, 20), client(1, 10)]);
    pass(5);
    used_by(2).await;
    assert_eq!(stored().await.usage.clients, [client(2, 20), client(1, 10)]);
    env.cache.flush_last_usage(&*env.store).await.unwrap();
    assert_eq!(stored().await.usage.clients, [client(2, 65), client(1, 10)]);
}

// Scenario: keys with many clients each, and one with more than a batch may have, are flushed.
// Guarantee: a batch has few clients, or a single key.
#[test]
fn a_batch_has_few_clients() {
    let usage = |clients| Usage {
        clients: vec![
            KeyClient {
                address: IpAddr::from([192, 0, 2, 1]),
                user_agent: None,
                last_used_at: NOW
            };
            clients
        ],
        ..Usage::default()
    };
    let taken = |clients: &[usize]| {
        let mut fits = crate::cache::usage::room_in_batch();
        clients.iter().take_while(|&&clients| fits(&usage(clients))).count()
    };
    assert_eq!([taken(&[10_000, 10_000, 1]), taken(&[20_001, 0]), taken(&[1, 20_000])], [2, 1, 1]);
    assert_eq!(taken(&[0; 10_000]), 10_000);
}

// Scenario: keys are used and deleted, and the usage is flushed twice.
// Guarantee: the usage of these keys is not in memory any more.
#[tokio::test]
async fn the_usage_of_deleted_keys_is_forgotten() {
    let env = TestEnv::new();
    for number in 1..=10 {
        let key = env.insert(number, "n").await;
        assert_eq!(env.decide(number.unsigned_abs()), allow("n"));
        env.write(Write::Delete(key)).await;
    }
    env.catch_up().await;
    env.flush().await;
    env.flush().await;
    assert_eq!(format!("{:?}", env.cache.usage), "Registry { used: 0, .. }");
}

// Scenario: ten thousand unknown keys are presented.
// Guarantee: the cache remembers none of these keys.
#[tokio::test]
async fn junk_is_not_remembered() {
    let env = TestEnv::new();
    env.catch_up().await;
    for number in 0..10_000 {
        assert_eq!(env.decide(number), Outcome::Deny(Unknown));
    }
    assert_eq!(
        (env.cache.keys.len(), format!("{:?}", env.cache.usage).as_str()),
        (0, "Registry { used: 0, .. }")
    );
}

// Scenario: several threads use a key, before and after the key gets separate counters for each
// core.
// Guarantee: every use is counted.
#[tokio::test]
async fn a_busy_key_is_counted_exactly() {
    const THREADS: u64 = 4;
    const USES: u64 = 5000;
    let env = TestEnv::new();
    env.insert(1, "n").await;
    let use_it = || {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..USES).for_each(|_| assert_eq!(env.decide(1), allow("n"))));
            }
        });
    };
    use_it();
    env.flush().await;
    use_it();
    env.flush().await;
    assert_eq!(env.usage(1).await.accepted, 2 * THREADS * USES);
}

// Scenario: more keys than are listed use the gateway. Some are used before and after a flush, and
// one listed and one unlisted key are deleted and forgotten.
// Guarantee: the totals contain each request once, whether or not it was flushed. A deleted key is
// not listed any more, the requests of the unlisted one stay in the sum, and the free place goes to
// the next new key.
#[tokio::test]
async fn totals_survive_a_flush_and_are_bounded() {
    let env = TestEnv::new();
    let count = totals::MAX_LISTED as i64 + 2;
    let mut records = Vec::new();
    for number in 1..=count {
        let record = env.insert(number, "n").await;
        records.push(record);
        env.decide(number.unsigned_abs());
    }
    let sums = || {
        let totals = env.cache.usage_totals();
        let listed: u64 = totals.keys.iter().map(|(_, total)| total.accepted).sum();
        (totals.keys.len(), listed, totals.others.accepted)
    };
    assert_eq!(sums(), (totals::MAX_LISTED, totals::MAX_LISTED as u64, 2));
    env.flush().await;
    env.decide(1);
    env.decide(count.unsigned_abs());
    assert_eq!(sums(), (totals::MAX_LISTED, totals::MAX_LISTED as u64 + 1, 3));
    for record in [records[0].clone(), records[records.len() - 1].clone()] {
        env.write(Write::Delete(record)).await;
    }
    env.catch_up().await;
    for _ in 0..3 {
        env.flush().await;
    }
    assert_eq!(sums(), (totals::MAX_LISTED - 1, totals::MAX_LISTED as u64 - 1, 3));
    env.insert(count + 1, "n").await;
    env.decide(count.unsigned_abs() + 1);
    assert_eq!(sums(), (totals::MAX_LISTED, totals::MAX_LISTED as u64, 3));
}

// Scenario: a follower reports usage of a key that is also used here, and of a key that does not
// exist. The store cannot be written at first, and a write of reported usage is cancelled.
// Guarantee: the reported usage is pending until it is in the store, and is in the store once.
#[tokio::test]
async fn reported_usage_is_flushed_once() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    env.decide(1);
    let reported = Usage { accepted: 2, bytes: 5, last_used_at: Some(NOW), ..Usage::default() };
    let report = [1, 2].map(|number| (KeyId::new(number).unwrap(), reported.clone()));
    env.cache.report_usage(report.to_vec()).unwrap();
    let pending = async || {
        let key = env.store.get(KeyId::new(1).unwrap()).await.unwrap().unwrap();
        env.cache.pending_usage().await.added_to(key, NOW).usage
    };
    let sum = Usage { accepted: 3, ..reported.clone() };
    assert_eq!(pending().await, sum);
    env.store.fail(true);
    assert!(env.cache.flush_usage(&*env.store).await.is_err());
    env.store.fail(false);
    assert_eq!(pending().await, sum);
    // The usage that was counted here is written, and the write of what was reported never ends.
    let (mut writes, store) = (0, &env.store);
    let cancelled = env.cache.flush_usage_with(10, false, |batch| {
        writes += 1;
        let is_last = writes == 2;
        async move {
            match is_last {
                true => std::future::pending().await,
                false => store.add_usage(batch).await,
            }
        }
    });
    tokio::select! {
        biased;
        flushed = cancelled => panic!("{flushed:?}"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(writes, 2);
    assert_eq!(pending().await, sum);
    for _ in 0..2 {
        env.flush().await;
        assert_eq!((env.usage(1).await, pending().await), (sum.clone(), sum.clone()));
    }
}

// Scenario: a report has very many clients of a key, some of them twice.
// Guarantee: only the latest clients are kept, each once, with its latest time. This does not take
// a comparison of every client with every other.
#[tokio::test]
async fn many_reported_clients_are_few_soon() {
    let env = TestEnv::new();
    env.insert(1, "n").await;
    let client = |number: u32| KeyClient {
        address: IpAddr::from(number.to_be_bytes()),
        user_agent: None,
        last_used_at: NOW.saturating_sub(Duration::from_secs(number.into())),
    };
    let clients = (0..200_000).rev().chain([0, 1]).map(client).collect();
    let usage = Usage { clients, ..Usage::default() };
    env.cache.report_usage(vec![(KeyId::new(1).unwrap(), usage)]).unwrap();
    env.flush().await;
    assert_eq!(env.usage(1).await.clients, [client(0), client(1)]);
}
