//! Tests of the commands on the key database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::program::{Gateway, run_to_end};

// Scenario: the database of a running gateway is backed up. Later a key is deleted and another key
// is created. Then the gateway is stopped, and a gateway starts with the backup in place of its
// database.
// Guarantee: the running gateway is not disturbed, and logs nothing about it. The backup is
// private, and has the keys of its time: the deleted key is allowed, and the later key is denied.
#[tokio::test]
async fn a_backup_is_restored() {
    let mut gateway = Gateway::start().await;
    let directory = Arc::clone(&gateway.directory);
    let early = gateway.create("early").await;
    let target = directory.path().join("backup.db");
    let file = target.to_str().unwrap();
    let (code, output, errors) = run_to_end(directory.path(), &["storage", "backup", file]).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output.starts_with(&format!("backed up to {file}: revision 1, ")), "{output}");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);

    gateway.delete(early.id).await;
    let later = gateway.create("later").await;
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.log.wait_for("stopped").await;
    assert!(!gateway.log.all().contains("another program"), "{}", gateway.log.all());
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        let _may_not_exist = fs::remove_file(gateway.state().join(name));
    }
    fs::rename(&target, gateway.state().join("keys.db")).unwrap();
    let gateway = Gateway::start_in(directory, &[]).await;
    assert_eq!(gateway.send_http(&early.secret).await.status(), StatusCode::OK);
    assert_eq!(gateway.send_http(&later.secret).await.status(), StatusCode::UNAUTHORIZED);
}

// Scenario: a backup is asked for without a database, over an existing file, in a directory that
// does not exist, and of a PostgreSQL database.
// Guarantee: the exit code and the message say what is wrong. The existing file is replaced only
// with `--force`.
#[tokio::test]
async fn a_backup_that_cannot_be_made_is_explained() {
    let directory = TempDir::new().unwrap();
    let exists = directory.path().join("exists");
    fs::write(&exists, "content").unwrap();
    let backup = async |file: &str, more: &[&str]| {
        let arguments = [&["storage", "backup", file], more].concat();
        let (code, _, errors) = run_to_end(directory.path(), &arguments).await;
        (code, errors)
    };
    let exists = exists.to_str().unwrap();
    let (code, errors) = backup(exists, &["--force"]).await;
    assert_eq!((code, errors.contains("there is no database at")), (69, true), "{errors}");
    let gateway = Gateway::start_in(Arc::new(directory), &[]).await;
    let backup = async |file: &str, more: &[&str]| {
        let arguments = [&["storage", "backup", file], more].concat();
        let (code, _, errors) = run_to_end(gateway.directory.path(), &arguments).await;
        (code, errors)
    };
    for (file, expected) in [
        (exists, "exists already"),
        ("/nowhere/backup", "cannot write to the directory /nowhere: No such file"),
    ] {
        let (code, errors) = backup(file, &[]).await;
        assert_eq!((code, errors.contains(expected)), (69, true), "{errors}");
    }
    assert_eq!(fs::read(exists).unwrap(), b"content");
    assert_eq!(backup(exists, &["--force"]).await, (0, String::new()));
    let (code, errors) = backup(exists, &["--set=storage.url=postgres://host/keys"]).await;
    assert_eq!((code, errors.contains("pg_dump")), (64, true), "{errors}");
    gateway.create("later").await;
}
