use ingestion_api::{GenerateRequest, KeyStatus, RotateRequest, UpdateRequest};
use otlp_auth::DenyReason::{Expired, Revoked};
use secrecy::ExposeSecret;

use super::*;
use crate::clock::ManualClock;
use crate::fixture::{CountingEntropy, NOW, Says, allow, says};
use crate::ring::RingOptions;
use crate::store::MemoryStore;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

struct House {
    service: KeyService,
    store: Arc<MemoryStore>,
    ring: Arc<Ring>,
    clock: Arc<ManualClock>,
}

impl House {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new([0; 16]));
        let clock = Arc::new(ManualClock::at(NOW));
        let ring = Arc::new(Ring::new(
            clock.clone(),
            RingOptions { max_staleness: Duration::MAX, ..RingOptions::default() },
        ));
        ring.catch_up(&*store).await.unwrap();
        let service = KeyService::new(
            store.clone(),
            Arc::clone(&ring),
            clock.clone(),
            Arc::new(CountingEntropy::default()),
        );
        Self { service, store, ring, clock }
    }

    async fn create(&self, name: &str, expiration: Option<i64>) -> GeneratedKey {
        self.service.create("ops", named(name, expiration)).await.unwrap()
    }

    async fn update(&self, id: i64, request: UpdateRequest) -> Result<IngestionApiKey, IssueError> {
        self.service.update("ops", id, request).await
    }

    async fn rotate(
        &self,
        id: i64,
        overlap: Option<u64>,
        expiration: Option<i64>,
    ) -> Result<GeneratedKey, IssueError> {
        self.service.rotate("ops", id, RotateRequest { overlap, expiration }).await
    }

    fn says(&self, key: &GeneratedKey) -> Says {
        says(&self.ring, key.api_key.expose_secret())
    }

    fn wait(&self, millis: i64) {
        self.clock.advance(Duration::from_millis(millis.unsigned_abs()));
    }
}

fn named(name: &str, expiration: Option<i64>) -> GenerateRequest {
    GenerateRequest { name: name.to_owned(), description: None, expiration }
}

fn now() -> i64 {
    NOW.as_millis()
}

// Scenario: a key is created with everything, and listed. Guarantee: it is let in at once; the
// answer has its secret and what the list has, the list has no secret.
#[tokio::test]
async fn a_created_key_is_in_force() {
    let house = House::new().await;
    let request = GenerateRequest {
        name: "  edge ".to_owned(),
        description: Some("d".to_owned()),
        expiration: Some(now() + 100 * DAY),
    };
    let generated = house.service.create("ops", request).await.unwrap();
    assert_eq!(house.says(&generated), allow("edge"));
    assert_eq!(generated.duplicate_name, None);
    let key = &generated.key;
    assert!(KeyId::new(key.id).is_some());
    assert_eq!(
        (key.name.as_str(), key.description.as_deref(), key.expiration),
        ("edge", Some("d"), Some(now() + 100 * DAY))
    );
    assert_eq!((key.created_timestamp, key.last_update_timestamp), (Some(now()), now()));
    assert_eq!((key.status, key.enabled), (Some(KeyStatus::Active), Some(true)));
    assert_eq!(generated.api_key.expose_secret()[10..14], *key.key_start.as_deref().unwrap());
    let listed = house.service.list().await.unwrap();
    let accepted = Some(1);
    let last_used_timestamp = Some(now());
    assert_eq!(
        listed,
        [IngestionApiKey { accepted, last_used_timestamp, sources: None, ..key.clone() }]
    );
}

// Scenario: requests with a bad name, description or expiration, to create and to update.
// Guarantee: each is refused for what is wrong, and nothing changes.
#[tokio::test]
async fn bad_requests_change_nothing() {
    let house = House::new().await;
    let key = house.create("edge", None).await.key;
    let create = async |name: &str, expiration| {
        house.service.create("ops", named(name, expiration)).await.unwrap_err()
    };
    assert!(matches!(create(" ", None).await, IssueError::NameEmpty));
    assert!(matches!(create("a\nb", None).await, IssueError::NameCharacter));
    assert!(matches!(create("n", Some(now())).await, IssueError::ExpirationPast));
    assert!(matches!(create("n", Some(i64::MAX)).await, IssueError::ExpirationTooLate));
    let update = async |request| house.update(key.id, request).await.unwrap_err();
    let too_long = Some(Some("d".repeat(4097)));
    assert!(matches!(
        update(UpdateRequest { description: too_long, ..Default::default() }).await,
        IssueError::DescriptionTooLong
    ));
    let past = Some(Some(now() - 1));
    assert!(matches!(
        update(UpdateRequest { expiration: past, ..Default::default() }).await,
        IssueError::ExpirationPast
    ));
    assert_eq!(house.service.list().await.unwrap(), [without_sources(key)]);
    assert_eq!(house.store.audit(0, 10).await.unwrap().len(), 1);
}

// Scenario: two keys of one name, and one of it after both are gone.
// Guarantee: the second is made and told to have a duplicate name.
#[tokio::test]
async fn a_name_may_be_given_twice() {
    let house = House::new().await;
    let (first, second) = (house.create("edge", None).await, house.create(" edge", None).await);
    assert_eq!((first.duplicate_name, second.duplicate_name), (None, Some(true)));
    assert_eq!((house.says(&first), house.says(&second)), (allow("edge"), allow("edge")));
    for key in [first, second] {
        house.service.delete("ops", key.key.id).await.unwrap();
    }
    assert_eq!(house.create("edge", None).await.duplicate_name, None);
}

// Scenario: a key is deleted, and asked for afterwards; ids that are none are asked for.
// Guarantee: it is refused when the call returns, and there is no such key.
#[tokio::test]
async fn a_deleted_key_is_refused_at_once() {
    let house = House::new().await;
    let key = house.create("edge", None).await;
    house.service.delete("ops", key.key.id).await.unwrap();
    assert_eq!(house.says(&key), Says::Deny(Revoked));
    for id in [key.key.id, 0, -1, 1 << 53, i64::MAX, i64::MIN] {
        let not_found = |result: Result<(), IssueError>| matches!(result, Err(IssueError::NotFound { id: asked }) if asked == id);
        assert!(not_found(house.service.delete("ops", id).await), "{id}");
        assert!(not_found(house.service.get(id).await.map(drop)), "{id}");
        assert!(not_found(house.update(id, UpdateRequest::default()).await.map(drop)), "{id}");
        assert!(not_found(house.rotate(id, None, None).await.map(drop)), "{id}");
    }
}

// Scenario: a key is disabled, enabled, renamed, given an end and relieved of it.
// Guarantee: each is in force when the call returns, and what was not given stays.
#[tokio::test]
async fn updates_are_in_force() {
    let house = House::new().await;
    let key = house.create("edge", Some(now() + DAY)).await;
    let id = key.key.id;
    house.wait(5);
    let disabled = house
        .update(id, UpdateRequest { enabled: Some(false), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(house.says(&key), Says::Deny(Revoked));
    assert_eq!(
        (disabled.status, disabled.expiration),
        (Some(KeyStatus::Disabled), Some(now() + DAY))
    );
    assert_eq!(
        (disabled.last_update_timestamp, disabled.created_timestamp),
        (now() + 5, Some(now()))
    );
    house
        .update(
            id,
            UpdateRequest {
                enabled: Some(true),
                name: Some("core".to_owned()),
                ..Default::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(house.says(&key), allow("core"));
    let clear = UpdateRequest {
        expiration: Some(None),
        description: Some(Some("d".to_owned())),
        ..Default::default()
    };
    let cleared = house.update(id, clear).await.unwrap();
    assert_eq!((cleared.expiration, cleared.description.as_deref()), (None, Some("d")));
    house.wait(2 * DAY);
    assert_eq!(house.says(&key), allow("core"));
    house
        .update(id, UpdateRequest { expiration: Some(Some(now() + 3 * DAY)), ..Default::default() })
        .await
        .unwrap();
    house.wait(DAY);
    assert_eq!(house.says(&key), Says::Deny(Expired));
    // One that has ended may be given a new end.
    house
        .update(id, UpdateRequest { expiration: Some(Some(now() + 5 * DAY)), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(house.says(&key), allow("core"));
}

// Scenario: an update that changes nothing.
// Guarantee: the key is answered, and nothing is told to have changed.
#[tokio::test]
async fn an_empty_update_is_no_change() {
    let house = House::new().await;
    let key = house.create("edge", None).await.key;
    house.wait(5);
    let request =
        UpdateRequest { name: Some("edge ".to_owned()), enabled: Some(true), ..Default::default() };
    assert_eq!(house.update(key.id, request).await.unwrap(), key);
    assert_eq!(house.store.audit(0, 10).await.unwrap().len(), 1);
}

// Scenario: a key's life, looked at the moment before and after each of its stages begins.
// Guarantee: it is expiring for its last fourteen days, and expired from its end on.
#[tokio::test]
async fn the_status_follows_the_clock() {
    let house = House::new().await;
    let id = house.create("edge", Some(now() + 15 * DAY)).await.key.id;
    for (at, status) in [
        (DAY - 1, KeyStatus::Active),
        (DAY, KeyStatus::Expiring),
        (15 * DAY - 1, KeyStatus::Expiring),
        (15 * DAY, KeyStatus::Expired),
    ] {
        house.clock.jump_to(Timestamp::from_millis(now() + at));
        assert_eq!(house.service.get(id).await.unwrap().status, Some(status), "{at}");
    }
}

// Scenario: keys with and without an end are rotated, with no, a short, a long and the longest
// overlap. Guarantee: the new key lives as long as the old one was given, or as asked; the old one
// ends at the earlier of its own end and the overlap's.
#[tokio::test]
async fn rotation_has_an_overlap() {
    for (expiration, overlap, asked, old_end, new_end) in [
        (None, None, None, HOUR + DAY, None),
        (None, Some(0), None, HOUR, None),
        (None, Some(7), Some(2 * DAY), HOUR + 7, Some(2 * DAY)),
        (Some(30 * DAY), None, None, HOUR + DAY, Some(HOUR + 30 * DAY)),
        (Some(2 * HOUR), None, None, 2 * HOUR, Some(3 * HOUR)),
        (Some(2 * HOUR), Some(u64::MAX), Some(2 * DAY), 2 * HOUR, Some(2 * DAY)),
    ] {
        let house = House::new().await;
        let relative = |millis: i64| now() + millis;
        let old = house.create("edge", expiration.map(relative)).await;
        house.wait(HOUR);
        let new = house.rotate(old.key.id, overlap, asked.map(relative)).await.unwrap();
        assert_eq!(
            (new.key.name.as_str(), new.key.expiration, new.duplicate_name),
            ("edge", new_end.map(relative), None)
        );
        assert_ne!(
            (new.key.id, new.api_key.expose_secret()),
            (old.key.id, old.api_key.expose_secret())
        );
        let ended = house.service.get(old.key.id).await.unwrap();
        assert_eq!(
            (ended.expiration, ended.successor),
            (Some(relative(old_end)), Some(new.key.id))
        );
        house.clock.jump_to(Timestamp::from_millis(relative(old_end) - 1));
        assert_eq!((house.says(&old), house.says(&new)), (allow("edge"), allow("edge")));
        house.clock.jump_to(Timestamp::from_millis(relative(old_end)));
        assert_eq!((house.says(&old), house.says(&new)), (Says::Deny(Expired), allow("edge")));
    }
}

// Scenario: keys that were rotated, have ended or are disabled are rotated; and one for longer than
// can be told. Guarantee: none is, the first names its successor, and nothing changes.
#[tokio::test]
async fn what_has_ended_is_not_rotated() {
    let house = House::new().await;
    let old = house.create("old", None).await.key.id;
    let new = house.rotate(old, Some(0), None).await.unwrap().key.id;
    assert!(
        matches!(house.rotate(old, None, None).await, Err(IssueError::Rotated { successor }) if successor.get() == new)
    );
    let ended = house.create("ended", Some(now() + 1)).await.key.id;
    house.wait(1);
    assert!(matches!(house.rotate(ended, None, None).await, Err(IssueError::Expired)));
    assert!(matches!(
        house.rotate(new, Some(u64::MAX), None).await,
        Err(IssueError::ExpirationTooLate)
    ));
    assert!(matches!(house.rotate(new, None, Some(now())).await, Err(IssueError::ExpirationPast)));
    house.update(new, UpdateRequest { enabled: Some(false), ..Default::default() }).await.unwrap();
    assert!(matches!(house.rotate(new, None, None).await, Err(IssueError::Disabled)));
    assert_eq!(house.service.list().await.unwrap().len(), 3);
}

// Scenario: a key that has a successor is to be good for longer, for ever, shorter, and under
// another name. Guarantee: not longer, for which the successor is named; the rest is done.
#[tokio::test]
async fn what_was_rotated_ends() {
    let house = House::new().await;
    let old = house.create("old", None).await.key.id;
    let new = house.rotate(old, Some(DAY.unsigned_abs()), None).await.unwrap().key.id;
    let update = async |expiration, name: Option<&str>| {
        let request =
            UpdateRequest { expiration, name: name.map(str::to_owned), ..Default::default() };
        house.update(old, request).await.map(|key| key.expiration)
    };
    for longer in [None, Some(now() + DAY + 1)] {
        let refused = update(Some(longer), None).await;
        assert!(
            matches!(refused, Err(IssueError::Rotated { successor }) if successor.get() == new),
            "{longer:?}"
        );
    }
    assert_eq!(update(None, Some("renamed")).await.unwrap(), Some(now() + DAY));
    assert_eq!(update(Some(Some(now() + HOUR)), None).await.unwrap(), Some(now() + HOUR));
}

// Scenario: a key is created, changed, rotated and deleted by several people.
// Guarantee: who did what to which key is told, oldest first, page by page, and no secret is in it.
#[tokio::test]
async fn everything_is_audited() {
    let house = House::new().await;
    let key = house.create("edge", None).await;
    let id = key.key.id;
    house
        .service
        .update("ada", id, UpdateRequest { name: Some("core".to_owned()), ..Default::default() })
        .await
        .unwrap();
    let new = house
        .service
        .rotate("bob", id, RotateRequest { overlap: Some(5), expiration: None })
        .await
        .unwrap();
    house.service.delete("eve", id).await.unwrap();
    let all = house.service.audit(AuditQuery::default()).await.unwrap();
    let told: Vec<_> = all
        .entries
        .iter()
        .map(|entry| (entry.who.as_str(), entry.action, entry.key_name.as_str()))
        .collect();
    use AuditAction::{Create, Delete, Rotate, Update};
    assert_eq!(
        told,
        [
            ("ops", Create, "edge"),
            ("ada", Update, "core"),
            ("bob", Rotate, "core"),
            ("eve", Delete, "core")
        ]
    );
    assert!(all.entries.iter().all(|entry| entry.key_id == id));
    assert_eq!(all.entries[2].other_key_id, Some(new.key.id));
    let change = |field: &str, from: Option<&str>, to: Option<String>| {
        vec![FieldChange { field: field.to_owned(), from: from.map(str::to_owned), to }]
    };
    assert_eq!(all.entries[1].changes, change("name", Some("edge"), Some("core".to_owned())));
    assert_eq!(all.entries[2].changes, change("expiration", None, Some((now() + 5).to_string())));
    let text = format!("{all:?}");
    for secret in [key.api_key.expose_secret(), new.api_key.expose_secret()] {
        assert!(!text.contains(secret) && !text.contains(&secret[10..18]));
    }
    let mut query = AuditQuery { after: None, limit: Some(3) };
    let first = house.service.audit(query).await.unwrap();
    assert_eq!(
        (&first.entries[..], first.next),
        (&all.entries[..3], Some(all.entries[2].revision))
    );
    query.after = first.next;
    assert_eq!(
        house.service.audit(query).await.unwrap(),
        AuditPage { entries: all.entries[3..].to_vec(), next: None }
    );
}

// Scenario: the store fails while keys are created, changed and deleted.
// Guarantee: every call says so, and what was in force stays.
#[tokio::test]
async fn a_store_that_fails_changes_nothing() {
    let house = House::new().await;
    let key = house.create("edge", None).await;
    house.store.fail(true);
    assert!(matches!(
        house.service.create("ops", named("n", None)).await,
        Err(IssueError::Store(_))
    ));
    assert!(matches!(house.service.delete("ops", key.key.id).await, Err(IssueError::Store(_))));
    assert!(matches!(house.rotate(key.key.id, None, None).await, Err(IssueError::Store(_))));
    assert!(matches!(house.service.list().await, Err(IssueError::Store(_))));
    assert_eq!((house.says(&key), house.ring.len()), (allow("edge"), 1));
}

// Scenario: twenty tasks change one key at once, each its own way.
// Guarantee: every change that was answered is in the audit, on top of the one before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_once_build_on_each_other() {
    let house = House::new().await;
    let id = house.create("0", None).await.key.id;
    let rename = |number: i32| {
        let service = house.service.clone();
        tokio::spawn(async move {
            let request = UpdateRequest { name: Some(number.to_string()), ..Default::default() };
            service.update("ops", id, request).await.is_ok()
        })
    };
    let tasks: Vec<_> = (1..=20).map(rename).collect();
    let mut changed = 0;
    for task in tasks {
        changed += usize::from(task.await.unwrap());
    }
    let audit = house.service.audit(AuditQuery::default()).await.unwrap().entries;
    assert_eq!(audit.len(), 1 + changed);
    for (before, after) in audit.iter().zip(&audit[1..]) {
        assert_eq!(before.changes[0].to, after.changes[0].from);
    }
}

// Scenario: the tombstone of a key deleted 90 days ago is pruned, and one of a day less.
// Guarantee: only the first is forgotten.
#[tokio::test]
async fn tombstones_last_ninety_days() {
    let house = House::new().await;
    let (first, second) = (house.create("a", None).await, house.create("b", None).await);
    house.service.delete("ops", first.key.id).await.unwrap();
    house.wait(DAY);
    house.service.delete("ops", second.key.id).await.unwrap();
    house.wait(89 * DAY + 1);
    house.service.prune().await.unwrap();
    house.ring.catch_up(&*house.store).await.unwrap();
    assert_eq!(house.says(&first), Says::Deny(otlp_auth::DenyReason::Unknown));
    assert_eq!(house.says(&second), Says::Deny(Revoked));
}
