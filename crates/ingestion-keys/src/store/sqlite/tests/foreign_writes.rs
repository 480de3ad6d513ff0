//! Tests of what other programs do to the files of an open database.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use super::*;

/// How long a test waits before it fails. No step takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Runs statements as another program does, such as a backup tool or a database browser.
fn as_another_program(path: &Path, statements: &str) {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection.execute_batch(statements).unwrap();
}

// Scenario: another program empties the file of an open database. In a second run, it overwrites
// the file with an earlier copy, as `cp` does. After each run the copy is restored and opened.
// Guarantee: after the write of the other program, every call fails, and the store does not change
// the file any more. The restored backup is complete.
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
        // Two writes within one tick of the file system's clock have the same time.
        touch(&path);
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

/// Makes a change, and lets `write` write to the files, several times. Checks that the store goes
/// on, and that every change is there after it is opened again.
async fn assert_goes_on(write: impl Fn(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    for number in 1..=5 {
        insert(&store, 2 * number).await.unwrap();
        write(&path);
        assert_eq!(store.list().await.unwrap().len() as i64, 2 * number - 1);
        insert(&store, 2 * number + 1).await.unwrap();
    }
    let mut snapshot = store.snapshot().await.unwrap();
    while let SnapshotChunk::Changes(_) = snapshot.next().await.unwrap() {}
    assert!(!*store.writer.files().is_replaced().borrow());
    drop(store);
    // The thread of the snapshot may still have the files.
    let store = SqliteStore::open(&SqliteOptions::new(&path).with_lock_wait(PATIENCE)).unwrap();
    let ids = store.list().await.unwrap();
    let ids: Vec<_> = ids.iter().map(|key| key.record.id.get()).collect();
    assert_eq!(ids, (2..=11).collect::<Vec<_>>());
}

// Scenario: another program makes a checkpoint of every kind, compacts the database, or sets the
// time of the last write, several times between changes of the store.
// Guarantee: the store goes on, and no change is lost.
#[tokio::test]
async fn a_write_that_changes_no_content_is_harmless() {
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        assert_goes_on(|path| {
            as_another_program(path, &format!("PRAGMA wal_checkpoint({mode})"));
        })
        .await;
    }
    assert_goes_on(|path| as_another_program(path, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"))
        .await;
    assert_goes_on(touch).await;
}

/// Sets the time of the last write to a time that the file did not have before.
fn touch(path: &Path) {
    let file = fs::File::open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.set_modified(time + Duration::from_secs(1)).unwrap();
}

// Scenario: a long read of another program prevents every checkpoint of the store, as a backup
// does. Meanwhile the store is closed and opened again, and then the time of the last write is set.
// Guarantee: the store goes on, and no change is lost. It still knows the id that the last
// successful checkpoint left in the file.
#[tokio::test]
async fn a_long_read_over_a_restart_is_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM keys").unwrap();
    insert(&store, 1).await.unwrap();
    touch(&path);
    let files = store.writer.files();
    let checkpoint = move |connection: &mut Connection| -> Result<_, SqliteError> {
        files.make_due_checkpoint(connection);
        Ok(())
    };
    store.writer.run(checkpoint).await.unwrap();
    drop(store);
    let store = open(&path).unwrap();
    touch(&path);
    insert(&store, 2).await.unwrap();
    drop((store, reader));
    assert_eq!(open(&path).unwrap().list().await.unwrap().len(), 2);
}

// Scenario: a process is killed, so that its last changes are only in its log. Then a backup is
// copied over the database, and the log is left beside it.
// Guarantee: the store does not open, and says why. Neither file is changed. Without the log, the
// backup can be opened.
#[tokio::test]
async fn a_backup_beside_a_foreign_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let [path, backup, killed] =
        ["keys.db", "backup.db", "killed.db"].map(|name| directory.path().join(name));
    let store = open(&path).unwrap();
    insert(&store, 1).await.unwrap();
    SqliteStore::back_up(&path, &backup, false, |_| ()).unwrap();
    insert(&store, 2).await.unwrap();
    let log = file::beside(&killed, "-wal");
    fs::copy(file::beside(&path, "-wal"), &log).unwrap();
    fs::copy(&backup, &killed).unwrap();
    let before = (fs::read(&killed).unwrap(), fs::read(&log).unwrap());
    assert_fails(open(&killed), SqliteError::ForeignLog);
    assert!((fs::read(&killed).unwrap(), fs::read(&log).unwrap()) == before);
    fs::remove_file(&log).unwrap();
    assert_eq!(open(&killed).unwrap().list().await.unwrap().len(), 1);
}

// Scenario: changes are made while another program makes checkpoints of every kind.
// Guarantee: every change that was acknowledged is there after the store is opened again. Nothing
// fails.
#[test]
fn checkpoints_of_another_program_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    let (made, enough) = (AtomicUsize::new(0), 12);
    let mut inserted = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
            for mode in modes.into_iter().cycle().take(enough) {
                as_another_program(&path, &format!("PRAGMA wal_checkpoint({mode})"));
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
        while made.load(Ordering::Relaxed) < enough {
            inserted += 1;
            block_on(insert(&store, inserted)).unwrap();
        }
    });
    drop(store);
    assert_eq!(block_on(open(&path).unwrap().list()).unwrap().len() as i64, inserted);
}

// Scenario: another file takes the place of an open database: an earlier copy that is copied over
// it or renamed to its path, the database of another store, a database of another program, and a
// text. In each case the open database has changes that are only in its log.
// Guarantee: the store makes no change any more, and says that it was replaced. The other file
// stays as it is, and the log of the open database does not get into it: it is kept beside, and an
// earlier log there is kept too.
// Databases of a store can be opened, and have their own content.
#[tokio::test]
async fn another_file_takes_its_place() {
    let sources = tempfile::tempdir().unwrap();
    let source = |name: &str| sources.path().join(name);
    let theirs = open(&source("theirs.db")).unwrap();
    for number in 50..55 {
        insert(&theirs, number).await.unwrap();
    }
    drop(theirs);
    Connection::open(source("other.db")).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    fs::write(source("text.db"), "a text that is not a database".repeat(1000)).unwrap();
    for (name, is_renamed, expected) in [
        ("copy.db", false, Some(vec![1])),
        ("copy.db", true, Some(vec![1])),
        ("theirs.db", false, Some((50..55).collect())),
        ("theirs.db", true, Some((50..55).collect())),
        ("other.db", false, None),
        ("text.db", true, None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let store = open(&path).unwrap();
        insert(&store, 1).await.unwrap();
        drop(store);
        if name == "copy.db" {
            fs::copy(&path, source(name)).unwrap();
        }
        let store = open(&path).unwrap();
        insert(&store, 2).await.unwrap();
        let content = fs::read(source(name)).unwrap();
        let earlier = directory.path().join("keys.db-wal.2");
        fs::write(&earlier, "an earlier log").unwrap();
        if is_renamed {
            let new = directory.path().join("new");
            fs::write(&new, &content).unwrap();
            fs::rename(&new, &path).unwrap();
        } else {
            fs::write(&path, &content).unwrap();
            touch(&path);
        }
        insert(&store, 3).await.unwrap_err();
        let error = timeout(PATIENCE, store.replaced()).await.unwrap();
        assert_eq!(error.kind(), StoreErrorKind::Replaced, "{name}");
        insert(&store, 3).await.unwrap_err();
        drop(store);
        assert!(fs::read(&path).unwrap() == content, "{name}");
        let log = fs::read(directory.path().join("keys.db-wal.2.2")).unwrap();
        assert!(!log.is_empty(), "{name}");
        assert_eq!(fs::read(&earlier).unwrap(), b"an earlier log", "{name}");
        match expected {
            Some(expected) => {
                let keys = open(&path).unwrap().list().await.unwrap();
                let ids: Vec<_> = keys.iter().map(|key| key.record.id.get()).collect();
                assert_eq!(ids, expected, "{name}");
            }
            None => assert_fails(open(&path), SqliteError::Foreign),
        }
    }
}

// Scenario: the file of an open database is replaced by a copy of itself, without its log.
// Guarantee: the store says that it was replaced. The log belongs to the copy, too, so it stays,
// and no acknowledged change is lost.
#[tokio::test]
async fn a_copy_of_itself_keeps_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let [path, copy] = ["keys.db", "copy.db"].map(|name| directory.path().join(name));
    let store = open(&path).unwrap();
    insert(&store, 1).await.unwrap();
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    timeout(PATIENCE, store.replaced()).await.unwrap();
    drop(store);
    assert_eq!(open(&path).unwrap().list().await.unwrap().len(), 1);
}
