//! Databases that cannot be used, and what is said about them.

use std::error::Error;
use std::net::TcpListener;

use super::*;

/// Returns the kind of the error and everything that it says.
async fn failure(store: &PostgresStore) -> (StoreErrorKind, String) {
    let error = store.list().await.unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    (error.kind(), text)
}

// Scenario: nothing listens at the address, something accepts connections and says nothing, the
// database does not exist, the password is wrong, and a newer version made the tables.
// Guarantee: the kind says whether waiting helps. The text says what is wrong, and contains neither
// the password nor a statement.
#[tokio::test(flavor = "multi_thread")]
async fn each_failure_says_what_is_wrong() {
    let server = Postgres::options().password("the-real-password").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("postgres://u@{}/d", listener.local_addr().unwrap());
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("postgres://u@{}/d", listener.local_addr().unwrap())
    };
    let with_password =
        |url: &str, password: &str| url.replace("//postgres@", &format!("//postgres:{password}@"));
    let newer = with_password(&server.create_database(), "the-real-password");
    open(&newer).list().await.unwrap();
    let database = newer.rsplit('/').next().unwrap();
    server.psql(database, "UPDATE ingestion_keys.schema_version SET version = 1000");
    let missing = server.url("postgres");
    let wrong = with_password(&missing, "a-wrong-password");
    let absent = with_password(&server.url("no_such"), "the-real-password");
    let without_tls = with_password(&missing, "the-real-password") + "?sslmode=require";
    for (url, kind, says) in [
        (closed, StoreErrorKind::Unavailable, "cannot be reached"),
        (silent, StoreErrorKind::Unavailable, "did not answer"),
        (absent, StoreErrorKind::Misconfigured, "there is no such database"),
        (missing, StoreErrorKind::Misconfigured, "password missing"),
        (without_tls, StoreErrorKind::Misconfigured, "TLS"),
        (wrong, StoreErrorKind::Misconfigured, "refuses the user or the password"),
        (newer, StoreErrorKind::TooNew, "a newer version"),
    ] {
        let (found, text) = failure(&open(&url)).await;
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("password\"") && !text.contains("SELECT"), "{text}");
        assert!(!text.contains("a-wrong-password"), "{text}");
    }
}

// Scenario: the database is killed and started again while a store has open connections.
// Guarantee: the calls fail while the database is down. After that they succeed on new connections,
// and what was acknowledged before is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_survives_the_end_of_the_database() {
    let server = Postgres::start();
    let store = open(&server.create_database());
    let (_, mut cursor) = whole(&store).await;
    let first = insert(&store, 1).await;
    server.kill();
    let change = commit(2, vec![Write::Insert(record(2, "n"))]);
    let refused = store.commit(change).await.unwrap_err();
    assert!(
        matches!(refused, CommitError::Store(error) if error.kind() == StoreErrorKind::Unavailable)
    );
    let unread = store.changes_since(&cursor).await.unwrap_err();
    assert_eq!(unread.kind(), StoreErrorKind::Unavailable);
    server.start_again();
    assert_eq!(follow(&store, &mut cursor).await, [first]);
    assert_eq!(insert(&store, 3).await, first + 1);
}

// Scenario: a process is stopped in the middle of a change. Another process makes a change.
// Guarantee: the other change is made, because the database ends the transaction of the first
// process before the second one has waited too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_holds_up_no_change() {
    let server = Postgres::shared();
    let url = server.create_database();
    let (stopped, other) = (open(&url), open(&url));
    let first = insert(&other, 1).await;
    let mut connected = stopped.pool.get().await.unwrap();
    let transaction = connected.client.transaction().await.unwrap();
    let sql = "UPDATE ingestion_keys.last_change SET revision = revision + 1";
    transaction.batch_execute(sql).await.unwrap();
    assert_eq!(insert(&other, 2).await, first + 1);
    let ended = PostgresError::from(transaction.commit().await.unwrap_err());
    assert!(ended.breaks_connection(), "{ended:?}");
}

// Scenario: listing the keys takes longer than a statement may take, as it may with a million keys.
// Guarantee: the list is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_not_cut_off() {
    let (store, server) = empty().await;
    for number in 1..=3 {
        insert(&store, number).await;
    }
    let connected = store.pool.get().await.unwrap();
    let sql = "SELECT current_database()";
    let database: String = connected.client.query_one(sql, &[]).await.unwrap().get(0);
    drop(connected);
    let slow = "ALTER TABLE ingestion_keys.keys RENAME TO all_keys; \
         CREATE VIEW ingestion_keys.keys AS \
         SELECT * FROM ingestion_keys.all_keys WHERE pg_sleep(2) IS NOT NULL";
    server.psql(&database, slow);
    assert_eq!(store.list().await.unwrap().len(), 3);
}

// Scenario: a URL names two hosts. The first one accepts connections and says nothing, and then the
// first one is a standby.
// Guarantee: the second host is used, because it answers and can be written to.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_can_be_written_to_is_used() {
    let primary = Postgres::start();
    let standby = primary.standby(false);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for other in [silent.local_addr().unwrap(), standby.address()] {
        let url = format!("postgres://postgres@{other},{}/postgres", primary.address());
        let store = open(&url);
        store.list().await.unwrap();
        let number = i64::from(other.port());
        insert(&store, number).await;
    }
    assert_eq!(primary.psql("postgres", "SELECT count(*) FROM ingestion_keys.keys").trim(), "2");
}

// Scenario: a role has `synchronous_commit = off`, and another one has `remote_apply`.
// Guarantee: no change is acknowledged before it is on disk. A stricter setting stays.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_on_disk_when_they_are_acknowledged() {
    let server = Postgres::shared();
    for (setting, expected) in
        [("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")]
    {
        let url = server.create_database();
        let database = url.rsplit('/').next().unwrap();
        let sql = format!("ALTER DATABASE {database} SET synchronous_commit = {setting}");
        server.psql("postgres", &sql);
        let store = open(&url);
        let connected = store.pool.get().await.unwrap();
        let row = connected.client.query_one("SHOW synchronous_commit", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), expected);
    }
}

// Scenario: a server has a certificate for `localhost`, which is its own authority. The URL trusts
// this certificate, another one, or any, and names the server by its name or by its address.
// Guarantee: each `sslmode` trusts what libpq trusts. A server that is not trusted gets no
// password, and the error is one that waiting does not mend.
#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_as_the_url_says() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    let certificate = write("own.pem", &own.cert.pem());
    let key = write("own.key", &own.signing_key.serialize_pem());
    let other = write("other.pem", &other.cert.pem());
    let server = Postgres::options().tls(&certificate, key).start();
    for (host, mode, trusted, expected) in [
        ("localhost", "verify-full", &certificate, None),
        ("127.0.0.1", "verify-full", &certificate, Some("not trusted")),
        ("127.0.0.1", "verify-ca", &certificate, None),
        ("127.0.0.1", "require", &certificate, None),
        ("localhost", "verify-full", &other, Some("not trusted")),
        ("localhost", "verify-ca", &other, Some("not trusted")),
        ("localhost", "require", &other, Some("not trusted")),
    ] {
        let port = server.port();
        let trusted = trusted.display();
        let url = format!(
            "postgres://postgres@{host}:{port}/postgres?sslmode={mode}&sslrootcert={trusted}"
        );
        match (open(&url).list().await, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(says)) => {
                assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error:?}");
                assert!(error.to_string().contains(says), "{url}: {error}");
            }
            (result, _) => panic!("{url}: {result:?}"),
        }
    }
    let url = server.url("postgres") + "?sslmode=require";
    open(&url).list().await.unwrap();
    let missing = PostgresOptions::parse(&(url + "&sslrootcert=/no/such.pem")).unwrap();
    let error = PostgresStore::new(&missing).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
}

// Scenario: a newer version migrates the database while a store is open. Then every connection of
// the store is ended.
// Guarantee: the store goes on with new connections. A store that is opened now is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_does_not_end_running_processes() {
    let server = Postgres::start();
    let url = server.create_database();
    let store = open(&url);
    let (_, mut cursor) = whole(&store).await;
    let database = url.rsplit('/').next().unwrap();
    server.psql(database, "UPDATE ingestion_keys.schema_version SET version = 1000");
    server.kill();
    server.start_again();
    assert_eq!(follow(&store, &mut cursor).await, [0; 0]);
    let revision = insert(&store, 1).await;
    assert_eq!(follow(&store, &mut cursor).await, [revision]);
    assert_eq!(open(&url).list().await.unwrap_err().kind(), StoreErrorKind::TooNew);
}
