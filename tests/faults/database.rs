//! A database that was moved, replaced or damaged, or that another program wrote to.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::gateway::TestEnv;
use crate::keys::{Key, Keys};

/// The default settings. With these settings, keys never become too old during a test.
const LONG: &[&str] = &[];

/// Settings with which the gateway stops deciding two seconds after its last read of the database.
const SHORT: &[&str] = &["storage.poll_interval=100ms", "storage.max_staleness=2s"];

const PAGE: u64 = 4096;

/// The offset of the schema version in SQLite's file header (https://sqlite.org/fileformat.html).
const USER_VERSION: u64 = 60;

// Scenario: the database of a running gateway is moved away, and later moved back.
// Guarantee: while the database is away, every change is refused with 503 and the reason, and
// decisions are made from memory. Afterwards changes succeed again and are stored.
#[test]
fn removed_and_restored() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let (database, elsewhere) = (env.path("keys.db"), env.path("elsewhere"));
    fs::rename(&database, &elsewhere).expect("the database is moved");
    keys.assert_not_changed(&mut caller, "the database file was removed or replaced");
    keys.assert_decided(&mut caller);
    fs::rename(&elsewhere, &database).expect("the database is moved back");
    let later = Key::create(&mut caller, "later");
    keys.assert_kept(&mut caller, &[&later]);
    drop(gateway);
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[&later]);
    gateway.stop();
}

// Scenario: the database of a running gateway is replaced by a copy.
// Guarantee: every change is refused with 503 and the reason, and decisions are made from memory.
// After a restart the gateway uses the copy, which has every acknowledged change.
#[test]
fn replaced() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let keys = Keys::create(&mut gateway.caller());
    gateway.stop();
    let gateway = env.start();
    let mut caller = gateway.caller();
    let copy = env.path("copy");
    fs::copy(env.path("keys.db"), &copy).expect("a copy");
    fs::rename(&copy, env.path("keys.db")).expect("the database is replaced");
    keys.assert_not_changed(&mut caller, "the database file was removed or replaced");
    keys.assert_decided(&mut caller);
    drop(gateway);
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: the write-ahead log, which has the last changes, is removed while the gateway runs.
// Then the gateway is stopped.
// Guarantee: every change is refused with 503 and the reason, because a crash would lose the
// change. Decisions continue. Every change that was acknowledged before is still stored.
#[test]
fn without_its_log() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    fs::remove_file(env.path("keys.db-wal")).expect("the log is removed");
    keys.assert_not_changed(&mut caller, "the database file was removed or replaced");
    keys.assert_decided(&mut caller);
    gateway.stop();
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: the database is moved away for longer than `max_staleness`, and then moved back.
// Guarantee: until the keys are too old, the receivers and the authorize endpoint decide correctly.
// Then every request is undecided. Once the database is back, requests are decided again.
#[test]
fn away_for_too_long() {
    let env = TestEnv::new(SHORT);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let (database, elsewhere) = (env.path("keys.db"), env.path("elsewhere"));
    fs::rename(&database, &elsewhere).expect("the database is moved");
    keys.wait_until_undecided(&mut caller);
    fs::rename(&elsewhere, &database).expect("the database is moved back");
    keys.wait_until_decided(&mut caller);
    gateway.stop();
}

// Scenario: every page of the database except the first is overwritten while a gateway runs. The
// database is repaired after the gateway has exited.
// Guarantee: every change is refused with 503 and the reason, and decisions are made from memory.
// No gateway starts with the damaged database. No acknowledged change is lost.
#[test]
fn damaged() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let keys = Keys::create(&mut gateway.caller());
    gateway.stop();
    let database = env.path("keys.db");
    let good = fs::read(&database).expect("the database");
    let gateway = env.start();
    let mut caller = gateway.caller();
    // A failing disk damages pages without changing the modification time of the file. So the test
    // restores this time after the damage.
    let written = fs::metadata(&database)
        .and_then(|metadata| metadata.modified())
        .expect("when it was written");
    overwrite(&database, PAGE, &vec![0xa5; good.len() - PAGE as usize]);
    OpenOptions::new()
        .write(true)
        .open(&database)
        .and_then(|file| file.set_modified(written))
        .expect("the same time");
    keys.assert_not_changed(&mut caller, "the database is damaged");
    keys.assert_decided(&mut caller);
    drop(gateway);
    let (code, lines) = env.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the database is damaged")), "{lines:?}");
    fs::write(&database, good).expect("the database is repaired");
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: a backup is copied over the database of a running gateway, and the gateway is killed.
// Guarantee: every change is refused with 503 and the reason, and decisions are made from memory. A
// gateway starts again with the backup, once the old write-ahead log is removed.
#[test]
fn overwritten() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let keys = Keys::create(&mut gateway.caller());
    gateway.stop();
    let (database, backup) = (env.path("keys.db"), env.path("backup"));
    fs::copy(&database, &backup).expect("a backup");
    let gateway = env.start();
    let mut caller = gateway.caller();
    fs::copy(&backup, &database).expect("the backup is restored");
    keys.assert_not_changed(&mut caller, "another program wrote to the database file");
    keys.assert_decided(&mut caller);
    drop(gateway);
    fs::remove_file(env.path("keys.db-wal")).expect("the log is removed");
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: a gateway starts with a database whose schema version is newer than the gateway.
// Guarantee: the gateway reports the version and exits. It changes no byte of the file.
#[test]
fn of_a_later_version() {
    let env = TestEnv::new(LONG);
    env.start().stop();
    let database = env.path("keys.db");
    overwrite(&database, USER_VERSION, &1000_u32.to_be_bytes());
    let before = fs::read(&database).expect("the database");
    let (code, lines) = env.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("a newer version wrote it")), "{lines:?}");
    assert!(fs::read(&database).expect("the database") == before);
}

// Scenario: a second gateway starts with the database of a gateway that keeps running.
// Guarantee: the second gateway reports the reason and exits. The first gateway is not disturbed.
#[test]
fn used_by_another_gateway() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let keys = Keys::create(&mut gateway.caller());
    let (code, lines) = env.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.contains("another process is writing to this database")),
        "{lines:?}"
    );
    let mut caller = gateway.caller();
    let later = Key::create(&mut caller, "later");
    keys.assert_kept(&mut caller, &[&later]);
    gateway.stop();
}

// Scenario: during a restart, a second gateway starts with the database of a gateway that is about
// to exit.
// Guarantee: the second gateway waits. Then it has every change that the first gateway
// acknowledged.
#[test]
fn handed_over() {
    let env = TestEnv::new(LONG);
    let first = env.start();
    let second = env.start_in_vain();
    let keys = Keys::create(&mut first.caller());
    first.stop();
    let second = env.ready(second);
    keys.assert_kept(&mut second.caller(), &[]);
    second.stop();
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("the file");
    file.seek(SeekFrom::Start(at)).expect("a place in it");
    file.write_all(bytes).expect("bytes");
}
