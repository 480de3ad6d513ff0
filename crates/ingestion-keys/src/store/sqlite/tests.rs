use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::schema::VERSION;
use super::*;
use crate::cache::{KeyCache, KeyCacheOptions, KeyHandle};
use crate::clock::ManualClock;
use crate::fixture::{NOW, Outcome, SeededRng, allow, commit, decide, key, record};
use crate::key::KeyRole;
use crate::service::{KeyService, NewKey, Rotation};
use crate::store::Write;

mod backup;
mod foreign_writes;

async fn empty() -> (SqliteStore, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (open(&directory.path().join("keys.db")).unwrap(), directory)
}

crate::store_contract!(empty);

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&SqliteOptions::new(path).with_lock_wait(Duration::ZERO))
}

async fn insert(store: &SqliteStore, number: i64) -> Result<Committed, CommitError> {
    store.commit(commit(1, vec![Write::Insert(record(number, "n"))])).await
}

/// Checks that a call failed with the kind and the message of the expected error.
#[track_caller]
fn assert_fails<T: std::fmt::Debug>(
    result: Result<T, impl Into<CommitError>>,
    expected: SqliteError,
) {
    let expected = StoreError::from(expected);
    match result.unwrap_err().into() {
        CommitError::Store(error) => {
            assert_eq!((error.kind(), error.to_string()), (expected.kind(), expected.to_string()))
        }
        error => panic!("{error:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the paths of all files in a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

// Scenario: a store is closed and opened again.
// Guarantee: the store still has every key. A cursor from before the closing is still valid. The
// revision of the next change is larger by one than the last revision before the closing.
#[tokio::test]
async fn what_was_kept_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    let first = insert(&store, 1).await.unwrap();
    let cursor = Cursor { revision: first.revision, change_id: [1; 16] };
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(*store.revision().borrow(), first.revision);
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(insert(&store, 2).await.unwrap().revision, first.revision + 1);
    assert!(
        matches!(store.changes_since(&cursor).await.unwrap(), Changes::Since(changes, _) if changes.len() == 1)
    );
}

// Scenario: a database is created in a directory that does not exist. Other users can read the
// parent directory, which exists. Later, other users get permission to read the database file, and
// the database is opened again.
// Guarantee: only the owner can read the files and directories that the store creates. The existing
// directory stays as it is. Opening removes the permission to read the database file.
#[tokio::test]
async fn files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("a/b/keys.db");
    let store = open(&path).unwrap();
    insert(&store, 1).await.unwrap();
    assert_eq!(
        (
            mode(directory.path()),
            mode(&directory.path().join("a")),
            mode(&directory.path().join("a/b"))
        ),
        (0o755, 0o700, 0o700)
    );
    let made = files(&directory.path().join("a/b"));
    assert!(made.len() >= 3);
    assert!(made.iter().all(|file| mode(file) == 0o600), "{made:?}");
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

// Scenario: a database is opened while another store has it open. The first attempt does not wait,
// and the second attempt waits until the other store is closed.
// Guarantee: the first attempt fails because the database is locked. The second attempt succeeds.
#[tokio::test]
async fn one_writes_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    assert_fails(open(&path), SqliteError::Locked);
    insert(&store, 1).await.unwrap();
    std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| SqliteStore::open(&SqliteOptions::new(&path).with_lock_wait(Duration::MAX)));
        drop(store);
        waiting.join().unwrap().unwrap();
    });
}

// Scenario: a database of a newer version, a database of another program and a text file are
// opened.
// Guarantee: opening fails, and each error says why. The content and the permissions of the file do
// not change, and no lock file is left.
#[test]
fn what_is_not_ours_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    drop(open(&path("newer.db")).unwrap());
    Connection::open(path("newer.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    Connection::open(path("other.db")).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    fs::write(
        path("text.db"),
        "a text that is not a database, and longer than the header of one: ".repeat(10),
    )
    .unwrap();
    for (name, expected) in [
        ("newer.db", SqliteError::Newer { found: 99, known: VERSION }),
        ("other.db", SqliteError::Foreign),
        ("text.db", SqliteError::Foreign),
    ] {
        let _locked_by_nobody = fs::remove_file(file::beside(&path(name), ".lock"));
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o664)).unwrap();
        let before = fs::read(path(name)).unwrap();
        assert_fails(open(&path(name)), expected);
        assert_eq!(fs::read(path(name)).unwrap(), before, "{name}");
        assert_eq!(
            (mode(&path(name)), file::beside(&path(name), ".lock").exists()),
            (0o664, false),
            "{name}"
        );
    }
}

// Scenario: the database file is moved away. Then a copy is put at its path, and finally the file
// itself is put back. The same is done with the log and with the lock file.
// Guarantee: nothing is read or written while the file is not at its path. Everything works when
// the file is back.
#[tokio::test]
async fn a_file_that_is_gone_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    insert(&store, 1).await.unwrap();
    for name in ["keys.db", "keys.db-wal", "keys.db.lock"] {
        let (path, aside) = (directory.path().join(name), directory.path().join("aside"));
        let is_refused = async || {
            assert_fails(insert(&store, 2).await, SqliteError::Replaced);
            assert_fails(store.list().await, SqliteError::Replaced);
            assert_fails(store.add_usage(UsageBatch::default()).await, SqliteError::Replaced);
            assert_fails(store.prune(NOW).await, SqliteError::Replaced);
            let mut snapshot = store.snapshot().await.unwrap();
            let end = loop {
                match snapshot.next().await {
                    Ok(SnapshotChunk::Changes(_)) => {}
                    end => break end,
                }
            };
            assert_fails(end, SqliteError::Replaced);
        };
        fs::rename(&path, &aside).unwrap();
        is_refused().await;
        fs::copy(&aside, &path).unwrap();
        is_refused().await;
        fs::rename(&aside, &path).unwrap();
        assert_eq!(store.list().await.unwrap().len(), 1);
    }
    insert(&store, 2).await.unwrap();
}

// Scenario: a database is opened by a symbolic link and by its own path. Later the file gets a
// second name (a hard link).
// Guarantee: both paths lead to the same database with the same lock, and all other files are
// beside the database file itself. While the file has two names, it cannot be opened.
#[tokio::test]
async fn one_database_whichever_way_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let [path, link, other] =
        ["keys.db", "link.db", "other.db"].map(|name| directory.path().join(name));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let store = open(&link).unwrap();
    insert(&store, 1).await.unwrap();
    assert_fails(open(&path), SqliteError::Locked);
    let beside_the_link = files(directory.path())
        .iter()
        .filter(|file| file.to_string_lossy().contains("link.db"))
        .count();
    assert_eq!(beside_the_link, 1);
    drop(store);
    assert_eq!(open(&path).unwrap().list().await.unwrap().len(), 1);
    fs::hard_link(&path, &other).unwrap();
    assert_fails(open(&other), SqliteError::Linked);
    fs::remove_file(&other).unwrap();
    assert_eq!(open(&link).unwrap().list().await.unwrap().len(), 1);
}

// Scenario: a hundred thousand keys are written, far more than should be in the log at once.
// Guarantee: the changes in the log are moved to the database several times. The store does not
// mistake this for a write of another program, and no key is lost.
#[tokio::test]
async fn the_log_is_cut_short() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    let (mut last, mut longest, mut cuts) = (0, 0, 0);
    for first in (1..100_000).step_by(1000) {
        let writes =
            (first..first + 1000).map(|number| Write::Insert(record(number, "n"))).collect();
        store.commit(commit(1, writes)).await.unwrap();
        let len = fs::metadata(file::beside(&path, "-wal")).unwrap().len();
        cuts += u32::from(len < last);
        (last, longest) = (len, longest.max(len));
    }
    assert!(cuts >= 2 && longest < 16 << 20, "{cuts}, {longest}");
    assert_eq!(store.list().await.unwrap().len(), 100_000);
    drop(store);
    assert_eq!(open(&path).unwrap().list().await.unwrap().len(), 100_000);
}

// Scenario: the disk is full in the middle of a change.
// Guarantee: the error says that the disk is full, and no part of the change is kept. Reading still
// works. Writing works again when there is space.
#[tokio::test]
async fn a_full_disk_keeps_nothing_of_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("keys.db")).unwrap();
    let limit = async |pages: i64| {
        let limit = move |connection: &mut Connection| -> Result<_, SqliteError> {
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?)
        };
        store.writer.run(limit).await.unwrap()
    };
    let pages = limit(1 << 30).await;
    limit(pages).await;
    let writes = || (1..2000).map(|number| Write::Insert(record(number, "n"))).collect();
    assert_fails(store.commit(commit(1, writes())).await, SqliteError::Full);
    assert!(store.list().await.unwrap().is_empty());
    assert!(store.audit(0, 10).await.unwrap().is_empty());
    limit(1 << 30).await;
    assert_eq!(store.commit(commit(1, writes())).await.unwrap().revision, 1);
}

// Scenario: pages in the middle of the database are overwritten.
// Guarantee: reading fails because the database is damaged. A cache that has read the database
// before decides from memory until `max_staleness`, and is undecided from then on. A new cache is
// undecided.
#[tokio::test]
async fn a_damaged_database_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let cache = KeyCache::new(clock.clone(), KeyCacheOptions::default());
    store
        .commit(commit(1, (1..5000).map(|number| Write::Insert(record(number, "n"))).collect()))
        .await
        .unwrap();
    cache.catch_up(&store).await.unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() / 4;
    bytes[from..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = open(&path).unwrap();
    assert_fails(store.list().await, SqliteError::Corrupt);
    let fresh = KeyCache::new(clock.clone(), KeyCacheOptions::default());
    assert_fails(fresh.catch_up(&store).await, SqliteError::Corrupt);
    assert_eq!(decide(&fresh, key(1).expose_secret()), Outcome::Undecided);
    assert_eq!(decide(&cache, key(1).expose_secret()), allow("n"));
    clock.advance(KeyCacheOptions::default().max_staleness);
    assert_eq!(decide(&cache, key(1).expose_secret()), Outcome::Undecided);
}

// Scenario: a job panics in the middle of a transaction.
// Guarantee: the caller of the job gets an error, and no part of the transaction is kept. The store
// still works.
#[tokio::test]
async fn a_panic_ends_one_call() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("keys.db")).unwrap();
    let panics = |connection: &mut Connection| -> Result<(), SqliteError> {
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM last_change", [])?;
        panic!("in the middle");
    };
    assert_fails(store.writer.run(panics).await.map_err(StoreError::from), SqliteError::Closed);
    insert(&store, 1).await.unwrap();
}

/// Runs the test again as the user nobody if this process is root, because root may write to
/// everything. Returns `true` if the test was run again and has passed, and `false` if this process
/// is not root.
fn was_run_as_nobody(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let name = format!("store::sqlite::tests::{test}");
    let mut again = Command::new("setpriv");
    again
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap());
    let output = again.args(["--exact", &name]).env("TMPDIR", "/tmp").output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && lines.contains("1 passed"), "{lines}");
    true
}

// Scenario: a user opens a database without the permission to write the database file, the lock
// file or the directory.
// Guarantee: the error says that the database cannot be written.
#[test]
fn what_cannot_be_written_is_reported() {
    if was_run_as_nobody("what_cannot_be_written_is_reported") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    drop(open(&path).unwrap());
    for unwritable in [path.clone(), file::beside(&path, ".lock")] {
        fs::set_permissions(&unwritable, fs::Permissions::from_mode(0o400)).unwrap();
        assert_fails(open(&path), SqliteError::ReadOnly);
        fs::set_permissions(&unwritable, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_fails(open(&directory.path().join("other.db")), SqliteError::ReadOnly);
    let error = open(&directory.path().join("a/other.db")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Io);
    assert!(std::error::Error::source(&error).is_some());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(open(&path).unwrap());
}

// Scenario: a database is open. The user loses the permission to write the file and its directory.
// Guarantee: every change that was acknowledged is found again.
#[tokio::test]
async fn permissions_taken_later_lose_nothing() {
    if was_run_as_nobody("permissions_taken_later_lose_nothing") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let mut acknowledged = Vec::new();
    for number in 1..10 {
        if insert(&store, number).await.is_ok() {
            acknowledged.push(number);
        }
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    drop(store);
    let kept: Vec<_> =
        open(&path).unwrap().list().await.unwrap().iter().map(|key| key.record.id.get()).collect();
    assert_eq!(kept, acknowledged);
}

// Scenario: keys are created, used, rotated, listed and deleted. A second rotation fails, and a
// deleted key is denied. The `Debug` output of every result and error, and every byte of every
// file, is searched for the keys.
// Guarantee: no key is found. None of a key's character groups (the parts between the dashes,
// without the prefix) is found either.
#[tokio::test]
async fn no_plaintext_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&directory.path().join("keys.db")).unwrap());
    let clock = Arc::new(ManualClock::at(NOW));
    let cache = Arc::new(KeyCache::new(clock.clone(), KeyCacheOptions::default()));
    cache.catch_up(&*store).await.unwrap();
    let service =
        KeyService::new(store.clone(), Arc::clone(&cache), clock).with_rng(SeededRng::default());
    let mut answers = String::new();
    let mut record_answer = |what: &dyn std::fmt::Debug| answers.push_str(&format!("{what:?}\n"));

    let created = service
        .create("ops", NewKey { name: "canary".to_owned(), ..NewKey::default() })
        .await
        .unwrap();
    let rotated = service.rotate("ops", created.key.record.id, Rotation::default()).await.unwrap();
    for generated in [&created, &rotated] {
        let credential =
            otlp_auth::Credential::new("StackState", generated.secret.expose_secret()).unwrap();
        let verdict = otlp_auth::server::InMemoryAuthenticator::decide(&*cache, &credential);
        if let Ok(otlp_auth::Decision::Allow(identity)) = &verdict {
            identity.handle::<KeyHandle>().unwrap().add_client([127, 0, 0, 1].into(), Some("test"));
        }
        record_answer(&(generated, verdict, cache.peek(&credential), &cache));
    }
    cache.flush_usage(&*store).await.unwrap();
    record_answer(
        &service.rotate("ops", created.key.record.id, Rotation::default()).await.unwrap_err(),
    );
    record_answer(&(
        service.list(KeyRole::Ingestion).await,
        service.get(created.key.record.id).await,
        service.audit(0, None).await,
    ));
    record_answer(&(&service, store.list().await));
    service.delete("ops", created.key.record.id).await.unwrap();
    assert!(matches!(decide(&cache, created.secret.expose_secret()), Outcome::Deny(_)));
    let in_use = files(directory.path());
    let bytes: Vec<_> = in_use
        .iter()
        .flat_map(|file| fs::read(file).unwrap())
        .chain(answers.into_bytes())
        .collect();
    assert!(in_use.iter().any(|file| fs::metadata(file).unwrap().size() > 4096));
    for generated in [&created, &rotated] {
        for group in generated.secret.expose_secret().split('-').skip(1) {
            assert!(
                !bytes.windows(group.len()).any(|window| window == group.as_bytes()),
                "a group of a key was kept"
            );
        }
    }
}
