//! A database that was moved, replaced or damaged, or that another program wrote to.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use otlp_auth_tests::PATIENCE;

use crate::gateway::{Caller, Gateway, TestEnv};
use crate::keys::{Key, Keys};

/// The default settings. With these settings, keys never become too old during a test.
const LONG: &[&str] = &[];

/// Settings with which the gateway stops deciding soon after its last read of the database. The
/// time is long enough for a busy machine, on which a thread may have to wait for seconds.
const SHORT: &[&str] = &["storage.poll_interval=100ms", "storage.max_staleness=6s"];

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

// Scenario: the database of a running gateway is replaced by a copy, while the last changes are
// only in the write-ahead log.
// Guarantee: no change is acknowledged any more, and the gateway ends with exit code 69. The
// gateway that is started next uses the copy and the log, which have every acknowledged change.
#[test]
fn replaced() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let copy = env.path("copy");
    fs::copy(env.path("keys.db"), &copy).expect("a copy");
    fs::rename(&copy, env.path("keys.db")).expect("the database is replaced");
    assert_ends(gateway, caller, &keys, "the database file was removed or replaced");
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

// Scenario: a backup is copied over the database of a running gateway, which has made changes
// since.
// Guarantee: no change is acknowledged any more, and the gateway ends with exit code 69. The
// gateway that is started next uses the backup, without the later changes.
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
    Key::create(&mut caller, "later");
    fs::copy(&backup, &database).expect("the backup is restored");
    assert_ends(gateway, caller, &keys, "another program wrote to the database file");
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: the database of a running gateway is emptied, for longer than `max_staleness`.
// Guarantee: no change is acknowledged. Requests are decided from memory and then undecided, and
// the gateway does not end: without a database it could only start with no keys, and would deny all
// of them. A gateway that is started nevertheless reports the reason and exits. Its log is not
// touched.
#[test]
fn emptied() {
    let env = TestEnv::new(SHORT);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let good = fs::read(env.path("keys.db")).expect("the database");
    fs::write(env.path("keys.db"), "").expect("an empty file");
    keys.assert_not_changed(&mut caller, "another program wrote to the database file");
    keys.wait_until_undecided(&mut caller);
    gateway.stop();
    let (code, lines) = env.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the database file is empty")), "{lines:?}");
    fs::write(env.path("keys.db"), good).expect("the database is restored");
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: while a gateway makes changes, another program makes checkpoints of every kind, as
// backup tools and database browsers do, and the time of the last write is set.
// Guarantee: the gateway goes on, and warns once. Every acknowledged change is stored.
#[test]
fn written_to_by_another_program() {
    let env = TestEnv::new(LONG);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let database = env.path("keys.db");
    let mut later = Vec::new();
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        let other = rusqlite::Connection::open(&database).expect("another connection");
        other.busy_timeout(PATIENCE).expect("a time limit");
        other.execute_batch(&format!("PRAGMA wal_checkpoint({mode})")).expect("a checkpoint");
        later.push(Key::create(&mut caller, mode));
        drop(other);
        let file = OpenOptions::new().write(true).open(&database).expect("the database");
        let time = file.metadata().and_then(|metadata| metadata.modified()).expect("a time");
        file.set_modified(time + Duration::from_secs(1)).expect("another time");
        later.push(Key::create(&mut caller, "touched"));
    }
    let later: Vec<_> = later.iter().collect();
    keys.assert_kept(&mut caller, &later);
    let lines = gateway.server.program.stop();
    let warnings = lines.iter().filter(|line| line.contains("its content is unchanged"));
    assert_eq!(warnings.count(), 1, "{lines:?}");
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &later);
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

/// Asserts that no change is acknowledged, that no request of the good key is denied, and that the
/// gateway ends with exit code 69 and this reason.
fn assert_ends(gateway: Gateway, mut caller: Caller, keys: &Keys, why: &str) {
    let answer = caller.create("not kept");
    assert_eq!((answer.status, answer.body.contains(why)), (503, true), "{}", answer.body);
    let deadline = Instant::now() + PATIENCE;
    while let Ok(answer) = caller.try_export(&keys.good.secret) {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        assert!(Instant::now() < deadline, "the gateway does not end");
    }
    let (code, lines) = gateway.server.program.end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(why)), "{lines:?}");
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("the file");
    file.seek(SeekFrom::Start(at)).expect("a place in it");
    file.write_all(bytes).expect("bytes");
}
