//! Tests of copying a database.

use super::*;

fn back_up(path: &Path, target: &Path, overwrite: bool) -> Result<BackedUp, StoreError> {
    SqliteStore::back_up(path, target, overwrite, |_| ())
}

// Scenario: a database is copied while a store makes changes, most of which are only in the log.
// The store is also closed and killed, which is simulated by a copy of its files, and copied again.
// Guarantee: each copy is one private file with every change that was acknowledged before. The
// database and its log stay as they are, and nothing else is left in the directory of the copy.
#[tokio::test]
async fn a_copy_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let target_directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = open(&path).unwrap();
    let mut seen = Vec::new();
    for number in 1..=3 {
        insert(&store, number).await.unwrap();
        let target = target_directory.path().join(format!("{number}.db"));
        let progress = |progress| seen.push(progress);
        let backup = SqliteStore::back_up(&path, &target, false, progress).unwrap();
        assert_eq!(backup.revision, number);
        assert_eq!((mode(&target), fs::metadata(&target).unwrap().len()), (0o600, backup.len));
        assert_eq!(files(target_directory.path()).len() as i64, number);
    }
    assert!(matches!(seen[0], BackupProgress::Copying { copied, pages } if copied == pages));
    assert_eq!(seen[1], BackupProgress::Verifying);
    insert(&store, 4).await.unwrap();
    let crashed = tempfile::tempdir().unwrap();
    for name in ["keys.db", "keys.db-wal"] {
        fs::copy(directory.path().join(name), crashed.path().join(name)).unwrap();
    }
    drop(store);
    for (number, path) in [(5, path), (6, crashed.path().join("keys.db"))] {
        let log = || fs::metadata(file::beside(&path, "-wal")).map_or(0, |log| log.len());
        let before = (log(), fs::read(&path).unwrap());
        let target = target_directory.path().join(format!("{number}.db"));
        assert_eq!(back_up(&path, &target, false).unwrap().revision, 4);
        assert!((log(), fs::read(&path).unwrap()) == before, "{number}");
    }
    for (number, keys) in [(1, 1), (2, 2), (3, 3), (5, 4), (6, 4)] {
        let store = open(&target_directory.path().join(format!("{number}.db"))).unwrap();
        assert_eq!(store.list().await.unwrap().len(), keys);
    }
}

// Scenario: a copy takes the place of the open database that it was made of.
// Guarantee: the store says that it was replaced, although the copy has all its changes: the log
// does not belong to the copy. The copy can be opened.
#[tokio::test]
async fn a_restored_copy_is_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let [path, target] = ["keys.db", "copy.db"].map(|name| directory.path().join(name));
    let store = open(&path).unwrap();
    insert(&store, 1).await.unwrap();
    back_up(&path, &target, false).unwrap();
    insert(&store, 2).await.unwrap();
    fs::rename(&target, &path).unwrap();
    tokio::time::timeout(Duration::from_secs(30), store.replaced()).await.unwrap();
    drop(store);
    assert_eq!(open(&path).unwrap().list().await.unwrap().len(), 1);
}

// Scenario: the target exists, is a file of the database, or is in a directory that does not exist.
// The source does not exist, is empty, belongs to another program, or is damaged.
// Guarantee: the error says what is wrong. No file is changed, and nothing is left in the
// directory.
#[tokio::test]
async fn what_cannot_be_copied_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let store = open(&path("keys.db")).unwrap();
    let writes = (1..2000).map(|number| Write::Insert(record(number, "n"))).collect();
    store.commit(commit(1, writes)).await.unwrap();
    drop(store);
    fs::write(path("exists"), "content").unwrap();
    fs::write(path("empty.db"), "").unwrap();
    fs::write(path("text.db"), "a text that is not a database".repeat(100)).unwrap();
    let mut damaged = fs::read(path("keys.db")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0xa5);
    fs::write(path("damaged.db"), damaged).unwrap();
    let before = files(directory.path()).len();
    let (is, ours) = (StoreErrorKind::Misconfigured, "a file of the database itself");
    for (source, target, overwrite, kind, message) in [
        ("keys.db", "exists", false, is, "exists already"),
        ("keys.db", "keys.db", true, is, ours),
        ("keys.db", "keys.db.lock", true, is, ours),
        ("keys.db", "nowhere/copy", true, StoreErrorKind::Io, "cannot write to the directory"),
        ("none.db", "copy", false, StoreErrorKind::Io, "there is no database"),
        ("empty.db", "copy", false, StoreErrorKind::NotOurs, "is empty"),
        ("text.db", "copy", false, StoreErrorKind::NotOurs, "not a database"),
        ("damaged.db", "copy", false, StoreErrorKind::Corrupt, "damaged"),
    ] {
        let error = back_up(&path(source), &path(target), overwrite).unwrap_err();
        assert_eq!(error.kind(), kind, "{source} {target} {error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(fs::read(path("exists")).unwrap(), b"content");
    let kept = files(directory.path());
    let left = kept.iter().filter(|file| file.to_string_lossy().contains(".backup-"));
    assert_eq!(left.count(), 0, "{kept:?}");
    assert!(!path("copy").exists() && kept.len() <= before + 2, "{kept:?}");
    back_up(&path("keys.db"), &path("exists"), true).unwrap();
    assert_eq!(open(&path("exists")).unwrap().list().await.unwrap().len(), 1999);
}
