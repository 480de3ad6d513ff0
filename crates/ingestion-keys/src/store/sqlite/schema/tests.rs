use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::audit::{AuditAction, AuditEntry, AuditNote, FieldChange, FromTo};
use crate::clock::Timestamp;
use crate::fixture::commit;
use crate::key::{KeyClient, KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey, Usage};
use crate::store::sqlite::{SqliteOptions, SqliteStore, connect, file};
use crate::store::{Change, Changes, Cursor, KeyState, KeyStore, UsageBatch, Write};

/// The rows of a database as version 1 wrote them. Five changes were made to three keys, and one of
/// the keys was deleted.
const ROWS_OF_VERSION_1: &str = r#"
UPDATE last_change SET revision = 5;
INSERT INTO changes (revision, change_id, changed_at) VALUES
    (1, x'01010101010101010101010101010101', 1000),
    (2, x'02020202020202020202020202020202', 2000),
    (3, x'03030303030303030303030303030303', 3000),
    (4, x'04040404040404040404040404040404', 4000),
    (5, x'05050505050505050505050505050505', 5000);
INSERT INTO keys (id, revision, digest, expires_at, enabled, name, key_start, created_at,
    updated_at, successor, description) VALUES
    (11, 4, x'1111111111111111111111111111111111111111111111111111111111111111', 90000, 1,
        'core', 'aaaa', 1000, 4000, 12, 'says "hi"' || char(10) || '🦀'),
    (12, 4, x'1212121212121212121212121212121212121212121212121212121212121212', NULL, 0,
        'core', 'bbbb', 4000, 4000, NULL, NULL);
INSERT INTO tombstones (id, revision, digest, deleted_at) VALUES
    (13, 5, x'1313131313131313131313131313131313131313131313131313131313131313', 5000);
INSERT INTO audit (revision, changed_at, who, action, key_id, key_name, other_key_id, changes)
VALUES
    (1, 1000, 'ops', 'create', 11, 'edge', NULL,
        '[{"field":"name","to":"edge"},{"field":"description","to":"old"},{"field":"enabled","to":"true"}]'),
    (2, 2000, 'ada', 'update', 11, 'core', NULL,
        '[{"field":"name","from":"edge","to":"core"},{"field":"description","from":"old","to":"says \"hi\"\n🦀"},{"field":"enabled","from":"true","to":"false"}]'),
    (3, 3000, 'ops', 'create', 13, 'gone', NULL, '[{"field":"name","to":"gone"}]'),
    (4, 4000, 'bob', 'rotate', 11, 'core', 12,
        '[{"field":"expiration","from":"95000","to":"90000"},{"field":"description","from":"x"}]'),
    (5, 5000, 'eve', 'delete', 13, 'gone', NULL, '[]');
INSERT INTO usage (key_id, accepted, denied, bytes, last_used_at, sources) VALUES
    (11, 7, 2, 4096, 4500,
        '[{"address":"2001:db8::1","userAgent":"agent \"a\"/1.0","lastUsedTimestamp":4500},{"address":"192.0.2.7","lastUsedTimestamp":4400}]'),
    (12, 0, 1, 0, NULL, '[]');
"#;

/// The same rows as version 2 wrote them.
const ROWS_OF_VERSION_2: &str = r#"
UPDATE last_change SET revision = 5;
INSERT INTO changes (revision, change_id, changed_at) VALUES
    (1, x'01010101010101010101010101010101', 1000),
    (2, x'02020202020202020202020202020202', 2000),
    (3, x'03030303030303030303030303030303', 3000),
    (4, x'04040404040404040404040404040404', 4000),
    (5, x'05050505050505050505050505050505', 5000);
INSERT INTO keys (id, revision, digest, expires_at, enabled, name, key_start, created_at,
    updated_at, successor, description) VALUES
    (11, 4, x'1111111111111111111111111111111111111111111111111111111111111111', 90000, 1,
        'core', 'aaaa', 1000, 4000, 12, 'says "hi"' || char(10) || '🦀'),
    (12, 4, x'1212121212121212121212121212121212121212121212121212121212121212', NULL, 0,
        'core', 'bbbb', 4000, 4000, NULL, NULL);
INSERT INTO tombstones (id, revision, digest, deleted_at) VALUES
    (13, 5, x'1313131313131313131313131313131313131313131313131313131313131313', 5000);
INSERT INTO audit (revision, changed_at, who, action, key_id, key_name, other_key_id) VALUES
    (1, 1000, 'ops', 'create', 11, 'edge', NULL),
    (2, 2000, 'ada', 'update', 11, 'core', NULL),
    (3, 3000, 'ops', 'create', 13, 'gone', NULL),
    (4, 4000, 'bob', 'rotate', 11, 'core', 12),
    (5, 5000, 'eve', 'delete', 13, 'gone', NULL);
INSERT INTO audit_changes (revision, position, field, old_value, new_value) VALUES
    (1, 0, 'name', NULL, 'edge'), (1, 1, 'description', NULL, 'old'), (1, 2, 'enabled', NULL, 'true'),
    (2, 0, 'name', 'edge', 'core'),
    (2, 1, 'description', 'old', 'says "hi"' || char(10) || '🦀'),
    (2, 2, 'enabled', 'true', 'false'),
    (3, 0, 'name', NULL, 'gone'),
    (4, 0, 'expiration', '95000', '90000'), (4, 1, 'description', 'x', NULL);
INSERT INTO usage (key_id, accepted, denied, bytes, last_used_at) VALUES
    (11, 7, 2, 4096, 4500), (12, 0, 1, 0, NULL);
INSERT INTO clients (key_id, slot, address, user_agent, last_used_at) VALUES
    (11, 0, '2001:db8::1', 'agent "a"/1.0', 4500), (11, 1, '192.0.2.7', NULL, 4400);
"#;

fn make_version_1(path: &Path) {
    make(path, 1, &[include_str!("../0001.sql"), ROWS_OF_VERSION_1]);
}

fn make_version_2(path: &Path) {
    let schema = [include_str!("../0001.sql"), include_str!("../0002.sql")];
    make(path, 2, &[schema[0], schema[1], ROWS_OF_VERSION_2]);
}

/// Makes a database of an earlier version.
fn make(path: &Path, version: i64, statements: &[&str]) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    for batch in statements {
        connection.execute_batch(batch).unwrap();
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(&SqliteOptions::new(path).with_lock_wait(Duration::ZERO)).unwrap()
}

fn id(number: i64) -> KeyId {
    KeyId::new(number).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn first_key() -> StoredKey {
    let record = KeyRecord {
        role: KeyRole::Ingestion,
        id: id(11),
        digest: KeyDigest::from_bytes([0x11; 32]),
        key_start: "aaaa".to_owned(),
        name: "core".to_owned(),
        description: Some("says \"hi\"\n\u{1f980}".to_owned()),
        created_at: at(1000),
        updated_at: at(4000),
        expires_at: Some(at(90_000)),
        enabled: true,
        successor: Some(id(12)),
        revision: 4,
    };
    let clients = vec![
        KeyClient {
            address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
            user_agent: Some("agent \"a\"/1.0".to_owned()),
            last_used_at: at(4500),
        },
        KeyClient { address: [192, 0, 2, 7].into(), user_agent: None, last_used_at: at(4400) },
    ];
    let usage = Usage {
        accepted: 7,
        failed: 0,
        denied: 2,
        bytes: 4096,
        last_used_at: Some(at(4500)),
        clients,
    };
    StoredKey { record, usage }
}

fn second_key() -> StoredKey {
    let record = KeyRecord {
        role: KeyRole::Ingestion,
        id: id(12),
        digest: KeyDigest::from_bytes([0x12; 32]),
        key_start: "bbbb".to_owned(),
        name: "core".to_owned(),
        description: None,
        created_at: at(4000),
        updated_at: at(4000),
        expires_at: None,
        enabled: false,
        successor: None,
        revision: 4,
    };
    StoredKey { record, usage: Usage { denied: 1, ..Usage::default() } }
}

fn audit() -> Vec<AuditEntry> {
    let texts = |from: Option<&str>, to: Option<&str>| FromTo {
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    };
    let entry = |revision, who: &str, action, key_id, key_name: &str, changes| AuditEntry {
        revision,
        at: at(revision * 1000),
        who: who.to_owned(),
        note: AuditNote {
            action,
            key_id: id(key_id),
            key_name: key_name.to_owned(),
            other_key_id: (action == AuditAction::Rotate).then_some(id(12)),
            changes,
        },
    };
    let created = vec![
        FieldChange::Name(texts(None, Some("edge"))),
        FieldChange::Description(texts(None, Some("old"))),
        FieldChange::Enabled(FromTo { from: None, to: Some(true) }),
    ];
    let updated = vec![
        FieldChange::Name(texts(Some("edge"), Some("core"))),
        FieldChange::Description(texts(Some("old"), Some("says \"hi\"\n\u{1f980}"))),
        FieldChange::Enabled(FromTo { from: Some(true), to: Some(false) }),
    ];
    let rotated = vec![
        FieldChange::Expiration(FromTo { from: Some(at(95_000)), to: Some(at(90_000)) }),
        FieldChange::Description(texts(Some("x"), None)),
    ];
    let other = vec![FieldChange::Name(texts(None, Some("gone")))];
    vec![
        entry(1, "ops", AuditAction::Create, 11, "edge", created),
        entry(2, "ada", AuditAction::Update, 11, "core", updated),
        entry(3, "ops", AuditAction::Create, 13, "gone", other),
        entry(4, "bob", AuditAction::Rotate, 11, "core", rotated),
        entry(5, "eve", AuditAction::Delete, 13, "gone", Vec::new()),
    ]
}

async fn assert_everything_is_there(store: &SqliteStore) {
    let (first, second) = (first_key(), second_key());
    assert_eq!(store.get(id(11)).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.get(id(12)).await.unwrap().as_ref(), Some(&second));
    let usage = Usage { clients: Vec::new(), ..first.usage.clone() };
    let listed = StoredKey { record: first.record.clone(), usage };
    assert_eq!(store.list().await.unwrap(), [listed, second.clone()]);
    assert_eq!(store.audit(0, 10).await.unwrap(), audit());
    let cursor = Cursor { revision: 3, change_id: [3; 16] };
    let deleted = Change {
        revision: 5,
        id: id(13),
        role: KeyRole::Ingestion,
        digest: KeyDigest::from_bytes([0x13; 32]),
        state: KeyState::Deleted { at: at(5000) },
    };
    let changes = vec![Change::from(&first.record), Change::from(&second.record), deleted];
    assert_eq!(
        store.changes_since(&cursor).await.unwrap(),
        Changes::Since(changes, Cursor { revision: 5, change_id: [5; 16] })
    );
}

// Scenario: databases that versions 1 and 2 wrote are opened several times.
// Guarantee: everything in the database is read as it was written, a key can be changed, and usage
// can be added. A backup that is made before has the earlier version, and can be opened too.
#[tokio::test]
async fn a_database_of_an_earlier_version_is_migrated() {
    for make in [make_version_1, make_version_2] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        make(&path);
        // A backup before the migration is a database of the earlier version.
        let backup = directory.path().join("backup.db");
        let backed_up = SqliteStore::back_up(&path, &backup, false, |_| ()).unwrap();
        assert_eq!(backed_up.revision, 5);
        let version = |path: &Path| identity(&Connection::open(path).unwrap()).unwrap().1;
        assert_eq!(version(&backup), version(&path));
        assert!(version(&backup) < VERSION);
        assert_everything_is_there(&open(&backup)).await;
        for _ in 0..2 {
            assert_everything_is_there(&open(&path)).await;
        }
        let store = open(&path);
        let renamed = KeyRecord { name: "renamed".to_owned(), ..first_key().record };
        let changed = store.commit(commit(6, vec![Write::Update(renamed)])).await.unwrap();
        assert_eq!(changed.revision, 6);
        let usage = vec![(id(11), Usage { accepted: 1, failed: 3, ..Usage::default() })];
        store.add_usage(UsageBatch { usage, ..UsageBatch::default() }).await.unwrap();
        drop(store);
        let key = open(&path).get(id(11)).await.unwrap().unwrap();
        let usage = (key.usage.accepted, key.usage.failed, key.usage.denied);
        assert_eq!((key.record.name.as_str(), usage), ("renamed", (8, 3, 2)));
    }
}

// Scenario: the process is killed at some point during the migration. To simulate this, the test
// copies the files of the database at many points of the migration. SQLite's cache is so small that
// pages are written before the transaction ends.
// Guarantee: each copy can be opened, and no data is missing.
#[tokio::test]
async fn a_migration_that_was_killed_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    make_version_1(&path);
    let copies = Arc::new(Mutex::new(Vec::new()));
    let copy = {
        let (copies, from, to) = (Arc::clone(&copies), path.clone(), directory.path().to_owned());
        move || {
            let mut copies = copies.lock().unwrap();
            let copy = to.join(format!("copy-{}.db", copies.len()));
            fs::copy(&from, &copy).unwrap();
            let log = fs::copy(file::beside(&from, "-wal"), file::beside(&copy, "-wal")).unwrap();
            copies.push((copy, log));
        }
    };
    let mut connection = connect(&path).unwrap();
    connection.pragma_update(None, "cache_size", 1).unwrap();
    let at_every_step = copy.clone();
    let go_on = move || {
        at_every_step();
        false
    };
    connection.progress_handler(100, Some(go_on)).unwrap();
    migrate(&mut connection).unwrap();
    connection.progress_handler(0, None::<fn() -> bool>).unwrap();
    drop(connection);
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    let written_before_the_end = copies.iter().filter(|(_, log)| *log > 0).count();
    assert!(copies.len() > 10 && written_before_the_end > 3, "{copies:?}");
    for (copy, _) in copies {
        assert_everything_is_there(&open(&copy)).await;
    }
    assert_everything_is_there(&open(&path)).await;
}
