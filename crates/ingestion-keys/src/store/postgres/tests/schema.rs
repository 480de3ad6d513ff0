//! Databases of earlier versions.

use super::*;
use crate::key::{KeyClient, KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey, Usage};
use crate::store::{Change, KeyState};

/// The schema of version 1, without the tables of keys.
const VERSION_1: &str = "
CREATE SCHEMA ingestion_keys;
CREATE TABLE ingestion_keys.schema_version (version bigint NOT NULL);
INSERT INTO ingestion_keys.schema_version (version) VALUES (1);
";

/// The rows of this database. Three changes were made to two keys, and one of the keys was deleted.
const ROWS_OF_VERSION_1: &str = r"
UPDATE ingestion_keys.last_change SET revision = 3;
INSERT INTO ingestion_keys.changes (revision, change_id, changed_at) VALUES
    (1, '\x01010101010101010101010101010101', 1000),
    (2, '\x02020202020202020202020202020202', 2000),
    (3, '\x03030303030303030303030303030303', 3000);
INSERT INTO ingestion_keys.keys (id, revision, digest, expires_at, enabled, name, key_start,
    created_at, updated_at, successor, description) VALUES
    (11, 1, decode(repeat('11', 32), 'hex'), 90000, true, 'core', 'aaaa', 1000, 1000, NULL, 'd');
INSERT INTO ingestion_keys.tombstones (id, revision, digest, deleted_at) VALUES
    (13, 3, decode(repeat('13', 32), 'hex'), 3000);
INSERT INTO ingestion_keys.audit (revision, changed_at, who, action, key_id, key_name) VALUES
    (1, 1000, 'ops', 'create', 11, 'core'), (2, 2000, 'ops', 'create', 13, 'gone'),
    (3, 3000, 'eve', 'delete', 13, 'gone');
INSERT INTO ingestion_keys.audit_changes (revision, position, field, old_value, new_value) VALUES
    (1, 0, 'name', NULL, 'core');
INSERT INTO ingestion_keys.usage (key_id, accepted, failed, denied, bytes, last_used_at) VALUES
    (11, 7, 1, 2, 4096, 2500);
INSERT INTO ingestion_keys.clients (key_id, address, user_agent, last_used_at) VALUES
    (11, '192.0.2.7', 'agent', 2500);
";

/// What a gateway of version 1 does that still runs: it inserts a key and deletes another one,
/// without a role.
const LATE: &str = r"
UPDATE ingestion_keys.last_change SET revision = 5;
INSERT INTO ingestion_keys.changes (revision, change_id, changed_at) VALUES
    (4, '\x04040404040404040404040404040404', 4000),
    (5, '\x05050505050505050505050505050505', 5000);
INSERT INTO ingestion_keys.keys (id, revision, digest, enabled, name, key_start, created_at,
    updated_at) VALUES (14, 4, decode(repeat('14', 32), 'hex'), true, 'late', 'dddd', 4000, 4000);
INSERT INTO ingestion_keys.tombstones (id, revision, digest, deleted_at) VALUES
    (15, 5, decode(repeat('15', 32), 'hex'), 5000);
";

// Scenario: a database of version 1 with rows is opened twice. Then a gateway of version 1 that
// still runs changes keys.
// Guarantee: the database is migrated once. Everything is read as it was written, and every key and
// every deleted key is one for ingestion. Keys can be changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_version_is_migrated() {
    let server = Postgres::shared();
    let url = server.create_database();
    let database = url.rsplit('/').next().unwrap();
    for sql in [VERSION_1, include_str!("../0001.sql"), ROWS_OF_VERSION_1] {
        server.psql(database, sql);
    }
    let at = Timestamp::from_millis;
    let id = |number| KeyId::new(number).unwrap();
    let record = KeyRecord {
        id: id(11),
        role: KeyRole::Ingestion,
        digest: KeyDigest::from_bytes([0x11; 32]),
        key_start: "aaaa".to_owned(),
        name: "core".to_owned(),
        description: Some("d".to_owned()),
        created_at: at(1000),
        updated_at: at(1000),
        expires_at: Some(at(90_000)),
        enabled: true,
        successor: None,
        revision: 1,
    };
    let client = KeyClient {
        address: [192, 0, 2, 7].into(),
        user_agent: Some("agent".to_owned()),
        last_used_at: at(2500),
    };
    let usage = Usage {
        accepted: 7,
        failed: 1,
        denied: 2,
        bytes: 4096,
        last_used_at: Some(at(2500)),
        clients: vec![client],
    };
    let deleted = |number, byte, revision| Change {
        revision,
        id: id(number),
        role: KeyRole::Ingestion,
        digest: KeyDigest::from_bytes([byte; 32]),
        state: KeyState::Deleted { at: at(revision * 1000) },
    };
    let cursor = |revision: u8| Cursor { revision: revision.into(), change_id: [revision; 16] };
    for _ in 0..2 {
        let store = open(&url);
        let key = StoredKey { record: record.clone(), usage: usage.clone() };
        assert_eq!(store.get(id(11)).await.unwrap(), Some(key));
        assert_eq!(whole(&store).await, (2, cursor(3)));
        let changes = Changes::Since(vec![deleted(13, 0x13, 3)], cursor(3));
        assert_eq!(store.changes_since(&cursor(2)).await.unwrap(), changes);
        assert_eq!(store.audit(0, 10).await.unwrap().len(), 3);
    }
    let version = server.psql(database, "SELECT version FROM ingestion_keys.schema_version");
    assert_eq!(version, "2");
    server.psql(database, LATE);
    let store = open(&url);
    let late = store.get(id(14)).await.unwrap().unwrap().record;
    let changes = Changes::Since(vec![Change::from(&late), deleted(15, 0x15, 5)], cursor(5));
    assert_eq!(late.role, KeyRole::Ingestion);
    assert_eq!(store.changes_since(&cursor(3)).await.unwrap(), changes);
    store.commit(commit(6, vec![Write::Update(record)])).await.unwrap();
}
