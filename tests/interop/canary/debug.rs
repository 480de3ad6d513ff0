//! The `Debug` output of every type that handles keys.

use std::sync::Arc;

use ingestion_api::{AuthorizeRequest, IngestionKey};
use ingestion_keys::KeyRole;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::{Clock, SystemClock};
use ingestion_keys::service::{KeyService, NewKey, Rotation};
use ingestion_keys::store::{KeyStore, SqliteOptions, SqliteStore};
use otlp_auth::server::InMemoryAuthenticator;
use otlp_auth::{Credential, Decision};

use super::hay::Hay;

// Scenario: the key service creates and rotates a key in a real database, and the key is presented
// to the key cache.
// Guarantee: the `Debug` output of all involved types contains neither a key nor a part of a key.
#[tokio::test]
async fn debug_shows_no_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&SqliteOptions::new(directory.path().join("keys.db")))
        .expect("a database");
    let store: Arc<dyn KeyStore> = Arc::new(store);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = KeyCacheOptions {
        answers_are_reported: false,
        max_staleness: std::time::Duration::from_secs(600),
        max_clients: 5,
        retain_clients: std::time::Duration::from_secs(600),
    };
    let cache = Arc::new(KeyCache::new(Arc::clone(&clock), options));
    cache.catch_up(&*store).await.expect("an empty store");
    let service = KeyService::new(Arc::clone(&store), Arc::clone(&cache), clock);

    let new = NewKey { name: "visible".to_owned(), ..NewKey::default() };
    let created = service.create("admin", new).await.expect("a key");
    let rotated =
        service.rotate("admin", created.key.record.id, Rotation::default()).await.expect("a key");
    let mut hay = Hay::default();
    let mut keys = Vec::new();
    for made in [&created, &rotated] {
        let key = made.secret.expose_secret().to_owned();
        let credential = Credential::new("StackState", &key).expect("a credential");
        let Ok(Decision::Allow(identity)) = cache.decide(&credential) else {
            panic!("a new key is not let in")
        };
        let authorize: AuthorizeRequest =
            serde_json::from_value(serde_json::json!({"apiKey": key})).expect("a request");
        let parsed = IngestionKey::parse(&key).expect("a key");
        let mistyped = IngestionKey::parse(&key[..key.len() - 1]).map(|_| ());
        hay.add(
            "debug",
            format!("{made:?} {credential:?} {identity:?} {authorize:?} {parsed:?} {mistyped:?}"),
        );
        keys.push(key);
    }
    let kept = store.snapshot().await.expect("a snapshot");
    hay.add(
        "debug",
        format!(
            "{service:?} {cache:?} {store:?} {kept:?} {:?}",
            service.list(KeyRole::Ingestion).await.expect("keys")
        ),
    );
    assert!(hay.has("debug", "visible"));
    for key in &keys {
        for part in key.split('-').skip(2).take(2).chain([key.as_str()]) {
            hay.assert_free_of("a key", part, &[]);
        }
    }
}
