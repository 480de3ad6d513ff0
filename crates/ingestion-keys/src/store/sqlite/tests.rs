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
use crate::service::{KeyService, NewKey, Rotation};
use crate::store::{StoreErrorKind, Write};

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

/// Checks the kind and the message of the error of a call that failed.
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

/// Every file of a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

// Scenario: a store is closed and opened again.
// Guarantee: everything is there, a cursor of before is followed, and revisions go on.
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

// Scenario: a database is made in directories that are not there, and in one that is open to
// others. Guarantee: what is made is its owner's alone; what was there stays as it is, except the
// database itself.
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

// Scenario: a database is opened while another has it; then that one lets go while somebody waits.
// Guarantee: the first is told that it is locked, the second gets it.
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

// Scenario: a database of a newer version, of another program, and a file that is none. Guarantee:
// each is refused for what it is, neither a byte nor who may read it changes, and no lock is left.
#[test]
fn what_is_not_ours_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    drop(open(&path("newer.db")).unwrap());
    Connection::open(path("newer.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    Connection::open(path("other.db")).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    fs::write(
        path("text.db"),
        "a text that is no database, and longer than its header is: ".repeat(10),
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

// Scenario: the database file is removed, then another is put in its place, then it is put back;
// and the same with its log and the lock file. Guarantee: nothing is written or read while it is
// not there, and everything goes on when it is.
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

// Scenario: a database is opened by a symbolic link and by its own path; then it has a second name.
// Guarantee: it is one database, locked by whichever way came first, with everything beside the
// file itself; with two names it is refused.
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

// Scenario: the open database is emptied, and in another run overwritten by a copy of before, as
// people restore it; after that the copy is opened. Guarantee: nothing is acknowledged any more,
// and the copy is what it was.
#[tokio::test]
async fn a_file_that_was_written_to_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let [path, backup] = ["keys.db", "backup.db"].map(|name| directory.path().join(name));
    let store = open(&path).unwrap();
    insert(&store, 1).await.unwrap();
    drop(store);
    fs::copy(&path, &backup).unwrap();
    for content in [Vec::new(), fs::read(&backup).unwrap()] {
        let store = open(&path).unwrap();
        insert(&store, 2).await.unwrap();
        fs::write(&path, &content).unwrap();
        assert_fails(insert(&store, 3).await, SqliteError::Overwritten);
        assert_fails(store.list().await, SqliteError::Overwritten);
        assert_fails(store.add_usage(UsageBatch::default()).await, SqliteError::Overwritten);
        drop(store);
        assert_eq!(fs::read(&path).unwrap(), content);
        if content.is_empty() {
            assert_fails(open(&path), SqliteError::Emptied);
        }
        fs::copy(&backup, &path).unwrap();
        fs::remove_file(file::beside(&path, "-wal")).unwrap();
        assert_eq!(open(&path).unwrap().list().await.unwrap().len(), 1);
    }
}

// Scenario: far more is written than a log should hold. Guarantee: it is moved to the database now
// and then, which is no writing by somebody else, and nothing is lost by it.
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

// Scenario: the disk is full in the middle of a change. Guarantee: that is what is said, nothing of
// the change is kept, reading goes on, and so does writing once there is space.
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

// Scenario: pages in the middle of the file are overwritten while it is open. Guarantee: reading
// says that the database is damaged; a cache goes on from memory, and is undecided once that is too
// old.
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

// Scenario: something goes badly wrong in the middle of a transaction.
// Guarantee: who waits is told, nothing is kept, and the store goes on.
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

/// Whether this process is root, to whom nothing is unreadable. Then the test was run again as
/// nobody, and passed.
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
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    true
}

// Scenario: the database, its lock file or its directory cannot be written by who opens it.
// Guarantee: that is what is said.
#[test]
fn what_cannot_be_written_is_said() {
    if was_run_as_nobody("what_cannot_be_written_is_said") {
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

// Scenario: the database becomes unwritable, and its directory too, after it was opened.
// Guarantee: what was opened goes on; nothing is acknowledged that is not found again.
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

// Scenario: keys are created, used, refused, rotated, listed and deleted; everything that was
// answered but the secret itself, every error, and every byte of every file is searched for them.
// Guarantee: no key is found, nor any of its groups.
#[tokio::test]
async fn no_plaintext_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&directory.path().join("keys.db")).unwrap());
    let clock = Arc::new(ManualClock::at(NOW));
    let cache = Arc::new(KeyCache::new(clock.clone(), KeyCacheOptions::default()));
    cache.catch_up(&*store).await.unwrap();
    let service =
        KeyService::new(store.clone(), Arc::clone(&cache), clock).with_rng(SeededRng::default());
    let mut told = String::new();
    let mut tell = |what: &dyn std::fmt::Debug| told.push_str(&format!("{what:?}\n"));

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
        tell(&(generated, verdict, cache.peek(&credential), &cache));
    }
    cache.flush_usage(&*store).await.unwrap();
    tell(&service.rotate("ops", created.key.record.id, Rotation::default()).await.unwrap_err());
    tell(&(
        service.list().await,
        service.get(created.key.record.id).await,
        service.audit(0, None).await,
    ));
    tell(&(&service, store.list().await));
    service.delete("ops", created.key.record.id).await.unwrap();
    assert!(matches!(decide(&cache, created.secret.expose_secret()), Outcome::Deny(_)));
    let in_use = files(directory.path());
    let bytes: Vec<_> =
        in_use.iter().flat_map(|file| fs::read(file).unwrap()).chain(told.into_bytes()).collect();
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
