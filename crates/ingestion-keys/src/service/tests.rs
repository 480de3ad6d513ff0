use otlp_auth::DenyReason::{Expired, Revoked, Unknown};

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::audit::AuditEntry;
use crate::cache::KeyCacheOptions;
use crate::clock::ManualClock;
use crate::fixture::{NOW, Outcome, SeededRng, allow, decide};
use crate::store::MemoryStore;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

struct TestEnv {
    service: KeyService<SeededRng>,
    store: Arc<MemoryStore>,
    cache: Arc<KeyCache>,
    clock: Arc<ManualClock>,
}

impl TestEnv {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new([0; 16]));
        let clock = Arc::new(ManualClock::at(NOW));
        let options =
            KeyCacheOptions { max_staleness: Duration::MAX, ..KeyCacheOptions::default() };
        let cache = Arc::new(KeyCache::new(clock.clone(), options));
        cache.catch_up(&*store).await.unwrap();
        let service = KeyService::new(store.clone(), Arc::clone(&cache), clock.clone())
            .with_rng(SeededRng::default());
        Self { service, store, cache, clock }
    }

    async fn create(&self, name: &str, expires_at: Option<Timestamp>) -> IssuedKey {
        self.service.create("ops", named(name, expires_at)).await.unwrap()
    }

    async fn update(&self, id: KeyId, update: KeyUpdate) -> Result<Key, UpdateError> {
        self.service.update("ops", id, update).await
    }

    async fn rotate(
        &self,
        id: KeyId,
        overlap: Option<Duration>,
        expires_at: Option<Timestamp>,
    ) -> Result<IssuedKey, RotateError> {
        self.service.rotate("ops", id, Rotation { overlap, expires_at }).await
    }

    fn decide(&self, key: &IssuedKey) -> Outcome {
        decide(&self.cache, key.secret.expose_secret())
    }

    fn wait(&self, millis: i64) {
        self.clock.advance(Duration::from_millis(millis.unsigned_abs()));
    }
}

fn named(name: &str, expires_at: Option<Timestamp>) -> NewKey {
    NewKey { name: name.to_owned(), expires_at, ..NewKey::default() }
}

/// Returns the time that is this many milliseconds after `NOW`. Each test begins at `NOW`.
fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

fn id_of(issued: &IssuedKey) -> KeyId {
    issued.key.record.id
}

// Scenario: a key is created with every field, and listed.
// Guarantee: the key is allowed at once. The result of the creation has the secret and the same
// fields as the list.
#[tokio::test]
async fn a_created_key_is_in_force() {
    let env = TestEnv::new().await;
    let new = NewKey {
        name: "  edge ".to_owned(),
        description: Some("d".to_owned()),
        expires_at: Some(after(100 * DAY)),
        ..NewKey::default()
    };
    let issued = env.service.create("ops", new).await.unwrap();
    assert_eq!(env.decide(&issued), allow("edge"));
    assert!(!issued.duplicate_name);
    let record = &issued.key.record;
    assert_eq!((record.name.as_str(), record.description.as_deref()), ("edge", Some("d")));
    assert_eq!(record.expires_at, Some(after(100 * DAY)));
    assert_eq!((record.created_at, record.updated_at), (NOW, NOW));
    assert_eq!((issued.key.status, record.enabled), (KeyStatus::Active, true));
    assert_eq!(issued.secret.expose_secret()[10..14], record.key_start);
    let usage = Usage { accepted: 1, last_used_at: Some(NOW), ..Usage::default() };
    let listed = Key { usage, ..issued.key.clone() };
    assert_eq!(env.service.list(KeyRole::Ingestion).await.unwrap(), [listed]);
}

// Scenario: the token of a follower is created and rotated, beside a key for ingestion.
// Guarantee: the new token is a token of a follower, too. Each role has a list of its own. The log
// has the role of the created token.
#[tokio::test]
async fn a_role_stays() {
    let env = TestEnv::new().await;
    let key = env.create("edge", None).await;
    let new = NewKey { role: KeyRole::Follower, ..named("edge", None) };
    let token = env.service.create("ops", new).await.unwrap();
    assert!(!token.duplicate_name);
    assert_eq!(env.decide(&token), Outcome::Deny(Unknown));
    let rotated = env.rotate(id_of(&token), None, None).await.unwrap();
    assert_eq!(env.decide(&rotated), Outcome::Deny(Unknown));
    let listed = async |role| {
        let keys = env.service.list(role).await.unwrap();
        keys.into_iter().map(|key| key.record.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(listed(KeyRole::Ingestion).await, BTreeSet::from([id_of(&key)]));
    let tokens = BTreeSet::from([id_of(&token), id_of(&rotated)]);
    assert_eq!(listed(KeyRole::Follower).await, tokens);
    let role = FieldChange::Role(FromTo { from: None, to: Some(KeyRole::Follower) });
    let log = env.service.audit(0, None).await.unwrap().entries;
    let with_role = log.iter().filter(|entry| entry.note.changes.contains(&role));
    assert_eq!(with_role.map(|entry| entry.note.key_id).collect::<Vec<_>>(), [id_of(&token)]);
}

// Scenario: a key is created and updated with a name, a description or an expiration that is not
// allowed.
// Guarantee: each call fails, and its error says what is not allowed. No key changes.
#[tokio::test]
async fn bad_requests_change_nothing() {
    let env = TestEnv::new().await;
    let key = env.create("edge", None).await.key;
    let create = async |name: &str, expires_at| match env
        .service
        .create("ops", named(name, expires_at))
        .await
        .unwrap_err()
    {
        CreateError::Invalid(invalid) => invalid,
        CreateError::Write(error) => panic!("{error:?}"),
    };
    assert_eq!(create(" ", None).await, InvalidKey::Name(NameError::Empty));
    assert_eq!(create("a\nb", None).await, InvalidKey::Name(NameError::Character));
    assert_eq!(create("n", Some(NOW)).await, InvalidKey::Expiration(ExpirationError::Past));
    let too_late = Some(Timestamp::from_millis(i64::MAX));
    assert_eq!(create("n", too_late).await, InvalidKey::Expiration(ExpirationError::TooLate));
    let update = async |update| match env.update(key.record.id, update).await.unwrap_err() {
        UpdateError::Invalid(invalid) => invalid,
        error => panic!("{error:?}"),
    };
    let too_long = KeyUpdate { description: Some(Some("d".repeat(4097))), ..KeyUpdate::default() };
    assert_eq!(update(too_long).await, InvalidKey::Description(DescriptionError::TooLong));
    let past = KeyUpdate { expires_at: Some(Some(after(-1))), ..KeyUpdate::default() };
    assert_eq!(update(past).await, InvalidKey::Expiration(ExpirationError::Past));
    assert_eq!(env.service.list(KeyRole::Ingestion).await.unwrap(), [key]);
    assert_eq!(env.store.audit(0, 10).await.unwrap().len(), 1);
}

// Scenario: two keys get the same name. Both are deleted, and a third key gets the name.
// Guarantee: only the second key is reported to have a duplicate name.
#[tokio::test]
async fn a_name_may_be_given_twice() {
    let env = TestEnv::new().await;
    let (first, second) = (env.create("edge", None).await, env.create(" edge", None).await);
    assert_eq!((first.duplicate_name, second.duplicate_name), (false, true));
    assert_eq!((env.decide(&first), env.decide(&second)), (allow("edge"), allow("edge")));
    for key in [first, second] {
        env.service.delete("ops", id_of(&key)).await.unwrap();
    }
    assert!(!env.create("edge", None).await.duplicate_name);
}

// Scenario: a key is deleted. Then every call is made with the id of the key.
// Guarantee: the key is denied as soon as the deletion returns. Every later call fails because no
// key has this id.
#[tokio::test]
async fn a_deleted_key_is_refused_at_once() {
    let env = TestEnv::new().await;
    let key = env.create("edge", None).await;
    let id = id_of(&key);
    env.service.delete("ops", id).await.unwrap();
    assert_eq!(env.decide(&key), Outcome::Deny(Revoked));
    let missing = NotFound { id };
    assert!(
        matches!(env.service.get(id).await, Err(GetError::NotFound(error)) if error == missing)
    );
    assert!(matches!(
        env.service.delete("ops", id).await,
        Err(ChangeError::NotFound(error)) if error == missing
    ));
    assert!(matches!(
        env.update(id, KeyUpdate::default()).await,
        Err(UpdateError::Change(ChangeError::NotFound(error))) if error == missing
    ));
    assert!(matches!(
        env.rotate(id, None, None).await,
        Err(RotateError::Change(ChangeError::NotFound(error))) if error == missing
    ));
}

// Scenario: a key is disabled, enabled and renamed. Its expiration is removed and set again.
// Guarantee: each change is in force when the call returns, and the other fields stay.
#[tokio::test]
async fn updates_are_in_force() {
    let env = TestEnv::new().await;
    let key = env.create("edge", Some(after(DAY))).await;
    let update = async |update| env.update(id_of(&key), update).await.unwrap();
    let ends_at = async |at| {
        update(KeyUpdate { expires_at: Some(Some(after(at))), ..KeyUpdate::default() }).await
    };
    env.wait(5);
    let disabled = update(KeyUpdate { enabled: Some(false), ..KeyUpdate::default() }).await;
    assert_eq!(env.decide(&key), Outcome::Deny(Revoked));
    let record = disabled.record;
    assert_eq!((disabled.status, record.expires_at), (KeyStatus::Disabled, Some(after(DAY))));
    assert_eq!((record.updated_at, record.created_at), (after(5), NOW));
    let name = Some("core".to_owned());
    update(KeyUpdate { enabled: Some(true), name, ..KeyUpdate::default() }).await;
    assert_eq!(env.decide(&key), allow("core"));
    let description = Some(Some("d".to_owned()));
    let clear = KeyUpdate { expires_at: Some(None), description, ..KeyUpdate::default() };
    let cleared = update(clear).await.record;
    assert_eq!((cleared.expires_at, cleared.description.as_deref()), (None, Some("d")));
    env.wait(2 * DAY);
    assert_eq!(env.decide(&key), allow("core"));
    ends_at(3 * DAY).await;
    env.wait(DAY);
    assert_eq!(env.decide(&key), Outcome::Deny(Expired));
    // A key that has expired may be given a new expiration.
    ends_at(5 * DAY).await;
    assert_eq!(env.decide(&key), allow("core"));
}

// Scenario: an update sets fields to the values that they already have.
// Guarantee: the key is returned, and no change is recorded.
#[tokio::test]
async fn an_empty_update_is_no_change() {
    let env = TestEnv::new().await;
    let key = env.create("edge", None).await.key;
    env.wait(5);
    let name = Some("edge ".to_owned());
    let update = KeyUpdate { name, enabled: Some(true), ..KeyUpdate::default() };
    assert_eq!(env.update(key.record.id, update).await.unwrap(), key);
    assert_eq!(env.store.audit(0, 10).await.unwrap().len(), 1);
}

// Scenario: the status of a key is read just before and just after it becomes expiring, and just
// before and just after it expires.
// Guarantee: the key is expiring in the last fourteen days before its expiration, and is expired
// from its expiration on.
#[tokio::test]
async fn the_status_follows_the_clock() {
    let env = TestEnv::new().await;
    let id = id_of(&env.create("edge", Some(after(15 * DAY))).await);
    for (at, status) in [
        (DAY - 1, KeyStatus::Active),
        (DAY, KeyStatus::Expiring),
        (15 * DAY - 1, KeyStatus::Expiring),
        (15 * DAY, KeyStatus::Expired),
    ] {
        env.clock.jump_to(after(at));
        assert_eq!(env.service.get(id).await.unwrap().status, status, "{at}");
    }
}

// Scenario: keys with and without an expiration are rotated, with the default overlap and with
// overlaps from zero to the longest.
// Guarantee: the new key expires as requested. Without a request, its lifetime is as long as the
// lifetime of the old key. The old key expires at its own expiration or at the end of the overlap,
// whichever is earlier.
#[tokio::test]
async fn rotation_has_an_overlap() {
    for (expiration, overlap, requested, old_end, new_end) in [
        (None, None, None, HOUR + DAY, None),
        (None, Some(0), None, HOUR, None),
        (None, Some(7), Some(2 * DAY), HOUR + 7, Some(2 * DAY)),
        (Some(30 * DAY), None, None, HOUR + DAY, Some(HOUR + 30 * DAY)),
        (Some(2 * HOUR), None, None, 2 * HOUR, Some(3 * HOUR)),
        (Some(2 * HOUR), Some(u64::MAX), Some(2 * DAY), 2 * HOUR, Some(2 * DAY)),
    ] {
        let env = TestEnv::new().await;
        let old = env.create("edge", expiration.map(after)).await;
        env.wait(HOUR);
        let overlap = overlap.map(Duration::from_millis);
        let new = env.rotate(id_of(&old), overlap, requested.map(after)).await.unwrap();
        let record = &new.key.record;
        assert_eq!((record.name.as_str(), record.expires_at), ("edge", new_end.map(after)));
        assert!(!new.duplicate_name);
        assert_ne!(id_of(&new), id_of(&old));
        assert_ne!(new.secret.expose_secret(), old.secret.expose_secret());
        let ended = env.service.get(id_of(&old)).await.unwrap().record;
        assert_eq!((ended.expires_at, ended.successor), (Some(after(old_end)), Some(id_of(&new))));
        env.clock.jump_to(after(old_end - 1));
        assert_eq!((env.decide(&old), env.decide(&new)), (allow("edge"), allow("edge")));
        env.clock.jump_to(after(old_end));
        assert_eq!((env.decide(&old), env.decide(&new)), (Outcome::Deny(Expired), allow("edge")));
    }
}

// Scenario: rotations are requested for a key that was rotated before, for an expired key and for a
// disabled key. Other rotations have an overlap that ends after the year 9999, or an expiration in
// the past.
// Guarantee: each call fails, and its error says why. The error for the key that was rotated before
// has the id of its successor. No key is created.
#[tokio::test]
async fn what_has_ended_is_not_rotated() {
    let env = TestEnv::new().await;
    let old = id_of(&env.create("old", None).await);
    let new = id_of(&env.rotate(old, Some(Duration::ZERO), None).await.unwrap());
    let refusal =
        async |id, overlap, expires_at| env.rotate(id, overlap, expires_at).await.unwrap_err();
    assert!(matches!(
        refusal(old, None, None).await,
        RotateError::Rotated(AlreadyRotated { successor }) if successor == new
    ));
    let expired = id_of(&env.create("expired", Some(after(1))).await);
    env.wait(1);
    assert!(matches!(refusal(expired, None, None).await, RotateError::Expired));
    assert!(matches!(
        refusal(new, Some(Duration::from_millis(u64::MAX)), None).await,
        RotateError::Expiration(ExpirationError::TooLate)
    ));
    assert!(matches!(
        refusal(new, None, Some(NOW)).await,
        RotateError::Expiration(ExpirationError::Past)
    ));
    env.update(new, KeyUpdate { enabled: Some(false), ..KeyUpdate::default() }).await.unwrap();
    assert!(matches!(refusal(new, None, None).await, RotateError::Disabled));
    assert_eq!(env.service.list(KeyRole::Ingestion).await.unwrap().len(), 3);
}

// Scenario: a key has a successor. Separate updates request no expiration, a later expiration, a
// new name, and an earlier expiration.
// Guarantee: the updates to no expiration and to a later expiration fail, and the error of each has
// the id of the successor. The other updates are made.
#[tokio::test]
async fn what_was_rotated_ends() {
    let env = TestEnv::new().await;
    let old = id_of(&env.create("old", None).await);
    let overlap = Some(Duration::from_secs(24 * 60 * 60));
    let new = id_of(&env.rotate(old, overlap, None).await.unwrap());
    let update = async |expires_at, name: Option<&str>| {
        let name = name.map(str::to_owned);
        let updated = env.update(old, KeyUpdate { expires_at, name, ..KeyUpdate::default() }).await;
        updated.map(|key| key.record.expires_at)
    };
    for longer in [None, Some(after(DAY + 1))] {
        let refused = update(Some(longer), None).await;
        assert!(
            matches!(
                refused,
                Err(UpdateError::Rotated(AlreadyRotated { successor })) if successor == new
            ),
            "{longer:?}"
        );
    }
    assert_eq!(update(None, Some("renamed")).await.unwrap(), Some(after(DAY)));
    assert_eq!(update(Some(Some(after(HOUR))), None).await.unwrap(), Some(after(HOUR)));
}

// Scenario: a key is created, updated, rotated and deleted by different people.
// Guarantee: the audit log says who made which change of which key. The log can be read in pages,
// oldest entry first, and contains no secret.
#[tokio::test]
async fn everything_is_audited() {
    use AuditAction::{Create, Delete, Rotate, Update};

    let env = TestEnv::new().await;
    let key = env.create("edge", None).await;
    let id = id_of(&key);
    let renamed = KeyUpdate { name: Some("core".to_owned()), ..KeyUpdate::default() };
    env.service.update("ada", id, renamed).await.unwrap();
    let rotation = Rotation { overlap: Some(Duration::from_millis(5)), expires_at: None };
    let new = env.service.rotate("bob", id, rotation).await.unwrap();
    env.service.delete("eve", id).await.unwrap();
    let all = env.service.audit(0, None).await.unwrap().entries;
    let summary =
        |entry: &AuditEntry| (entry.who.clone(), entry.note.action, entry.note.key_name.clone());
    let expected = [
        ("ops", Create, "edge"),
        ("ada", Update, "core"),
        ("bob", Rotate, "core"),
        ("eve", Delete, "core"),
    ];
    assert_eq!(
        all.iter().map(summary).collect::<Vec<_>>(),
        expected.map(|(who, action, name)| (who.to_owned(), action, name.to_owned()))
    );
    assert!(all.iter().all(|entry| entry.note.key_id == id));
    assert_eq!(all[2].note.other_key_id, Some(id_of(&new)));
    let name = FromTo { from: Some("edge".to_owned()), to: Some("core".to_owned()) };
    assert_eq!(all[1].note.changes, [FieldChange::Name(name)]);
    let expiration = FromTo { from: None, to: Some(after(5)) };
    assert_eq!(all[2].note.changes, [FieldChange::Expiration(expiration)]);
    let text = format!("{all:?}");
    for secret in [key.secret.expose_secret(), new.secret.expose_secret()] {
        assert!(!text.contains(secret) && !text.contains(&secret[10..18]));
    }
    let first = env.service.audit(0, Some(3)).await.unwrap();
    assert_eq!((&first.entries[..], first.next), (&all[..3], Some(all[2].revision)));
    let rest = env.service.audit(first.next.unwrap(), Some(3)).await.unwrap();
    assert_eq!(rest, AuditPage { entries: all[3..].to_vec(), next: None });
}

// Scenario: the store fails while keys are created, rotated, listed and deleted.
// Guarantee: every call fails with the error of the store. The keys that were in force stay in
// force.
#[tokio::test]
async fn a_store_that_fails_changes_nothing() {
    let env = TestEnv::new().await;
    let key = env.create("edge", None).await;
    let id = id_of(&key);
    env.store.fail(true);
    assert!(matches!(
        env.service.create("ops", named("n", None)).await,
        Err(CreateError::Write(WriteError::Store(_)))
    ));
    assert!(matches!(
        env.service.delete("ops", id).await,
        Err(ChangeError::Write(WriteError::Store(_)))
    ));
    assert!(matches!(
        env.rotate(id, None, None).await,
        Err(RotateError::Change(ChangeError::Write(WriteError::Store(_))))
    ));
    assert!(env.service.list(KeyRole::Ingestion).await.is_err());
    assert_eq!((env.decide(&key), env.cache.len()), (allow("edge"), 1));
}

// Scenario: twenty tasks rename the same key at the same time, each to a different name.
// Guarantee: the audit log has every change that succeeded. The old name in each entry is the new
// name in the entry before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_once_build_on_each_other() {
    let env = TestEnv::new().await;
    let id = id_of(&env.create("0", None).await);
    let rename = |number: i32| {
        let service = env.service.clone();
        tokio::spawn(async move {
            let renamed = KeyUpdate { name: Some(number.to_string()), ..KeyUpdate::default() };
            service.update("ops", id, renamed).await.is_ok()
        })
    };
    let tasks: Vec<_> = (1..=20).map(rename).collect();
    let mut changed = 0;
    for task in tasks {
        changed += usize::from(task.await.unwrap());
    }
    let audit = env.service.audit(0, None).await.unwrap().entries;
    assert_eq!(audit.len(), 1 + changed);
    let name = |entry: &AuditEntry| match &entry.note.changes[0] {
        FieldChange::Name(name) => name.clone(),
        other => panic!("{other:?}"),
    };
    for (before, after) in audit.iter().zip(&audit[1..]) {
        assert_eq!(name(before).to, name(after).from);
    }
}

// Scenario: tombstones are removed more than 90 days after one key was deleted, and 89 days after
// another key was deleted.
// Guarantee: only the first key is forgotten.
#[tokio::test]
async fn tombstones_last_ninety_days() {
    let env = TestEnv::new().await;
    let (first, second) = (env.create("a", None).await, env.create("b", None).await);
    env.service.delete("ops", id_of(&first)).await.unwrap();
    env.wait(DAY);
    env.service.delete("ops", id_of(&second)).await.unwrap();
    env.wait(89 * DAY + 1);
    env.service.prune().await.unwrap();
    env.cache.catch_up(&*env.store).await.unwrap();
    assert_eq!(env.decide(&first), Outcome::Deny(Unknown));
    assert_eq!(env.decide(&second), Outcome::Deny(Revoked));
}
