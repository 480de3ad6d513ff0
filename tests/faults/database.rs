//! A database that is not what it was, or somebody else's.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::gateway::House;
use crate::keys::{Key, Keys};

/// So long that no test lasts until the keys are too old.
const LONG: &[&str] = &[];

/// So short that a test can wait for it.
const SHORT: &[&str] = &["storage.poll_interval=100ms", "storage.max_staleness=2s"];

const PAGE: u64 = 4096;

/// Where SQLite's header has the version of the schema (https://sqlite.org/fileformat.html).
const USER_VERSION: u64 = 60;

// Scenario: the database is moved away under a gateway that runs, and back. Guarantee: changes are
// refused with 503 and say why, decisions go on from memory; then changes are made again, and kept.
#[test]
fn removed_and_restored() {
    let house = House::new(LONG);
    let gateway = house.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let (database, elsewhere) = (house.path("keys.db"), house.path("elsewhere"));
    fs::rename(&database, &elsewhere).expect("the database is moved");
    keys.assert_not_changed(&mut caller, "the database file was removed or replaced");
    keys.assert_decided(&mut caller);
    fs::rename(&elsewhere, &database).expect("the database is moved back");
    let later = Key::create(&mut caller, "later");
    keys.assert_kept(&mut caller, &[&later]);
    drop(gateway);
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[&later]);
    gateway.stop();
}

// Scenario: the database is replaced by a copy of it under a gateway that runs. Guarantee: changes
// are refused with 503 and say why, decisions go on from memory, and what was answered is in the
// copy after a restart.
#[test]
fn replaced() {
    let house = House::new(LONG);
    let gateway = house.start();
    let keys = Keys::create(&mut gateway.caller());
    gateway.stop();
    let gateway = house.start();
    let mut caller = gateway.caller();
    let copy = house.path("copy");
    fs::copy(house.path("keys.db"), &copy).expect("a copy");
    fs::rename(&copy, house.path("keys.db")).expect("the database is replaced");
    keys.assert_not_changed(&mut caller, "the database file was removed or replaced");
    keys.assert_decided(&mut caller);
    drop(gateway);
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: the write-ahead log, in which the last changes are, is removed under a gateway that
// runs and then ends. Guarantee: changes are refused with 503 and say why, for a crash would lose
// them; decisions go on; what was answered before is kept.
#[test]
fn without_its_log() {
    let house = House::new(LONG);
    let gateway = house.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    fs::remove_file(house.path("keys.db-wal")).expect("the log is removed");
    keys.assert_not_changed(&mut caller, "the database file was removed or replaced");
    keys.assert_decided(&mut caller);
    gateway.stop();
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: the database is away for longer than decisions are made without it, and comes back.
// Guarantee: every verdict is right until there is none any more, for telemetry as at the authorize
// endpoint; then there is one again.
#[test]
fn away_for_too_long() {
    let house = House::new(SHORT);
    let gateway = house.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let (database, elsewhere) = (house.path("keys.db"), house.path("elsewhere"));
    fs::rename(&database, &elsewhere).expect("the database is moved");
    keys.wait_until_undecided(&mut caller);
    fs::rename(&elsewhere, &database).expect("the database is moved back");
    keys.wait_until_decided(&mut caller);
    gateway.stop();
}

// Scenario: every page of the database but the first is overwritten under a gateway that runs, and
// is repaired after it ended. Guarantee: changes are refused with 503 and say why, decisions go on
// from memory; no gateway starts on it; nothing answered is lost.
#[test]
fn damaged() {
    let house = House::new(LONG);
    let gateway = house.start();
    let keys = Keys::create(&mut gateway.caller());
    gateway.stop();
    let database = house.path("keys.db");
    let good = fs::read(&database).expect("the database");
    let gateway = house.start();
    let mut caller = gateway.caller();
    // As a disk does it: the time of the last write stays.
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
    let (code, lines) = house.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the database is damaged")), "{lines:?}");
    fs::write(&database, good).expect("the database is repaired");
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: a backup is copied over the database under a gateway that runs, and the gateway is
// killed. Guarantee: changes are refused with 503 and say why, decisions go on from memory; with
// the backup and without the log it starts again.
#[test]
fn overwritten() {
    let house = House::new(LONG);
    let gateway = house.start();
    let keys = Keys::create(&mut gateway.caller());
    gateway.stop();
    let (database, backup) = (house.path("keys.db"), house.path("backup"));
    fs::copy(&database, &backup).expect("a backup");
    let gateway = house.start();
    let mut caller = gateway.caller();
    fs::copy(&backup, &database).expect("the backup is restored");
    keys.assert_not_changed(&mut caller, "another program wrote to the database file");
    keys.assert_decided(&mut caller);
    drop(gateway);
    fs::remove_file(house.path("keys.db-wal")).expect("the log is removed");
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[]);
    gateway.stop();
}

// Scenario: a gateway starts on a database that says it is of a later version.
// Guarantee: it says so and ends, and the file is as it was, to the byte.
#[test]
fn of_a_later_version() {
    let house = House::new(LONG);
    house.start().stop();
    let database = house.path("keys.db");
    overwrite(&database, USER_VERSION, &1000_u32.to_be_bytes());
    let before = fs::read(&database).expect("the database");
    let (code, lines) = house.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("a newer version wrote it")), "{lines:?}");
    assert!(fs::read(&database).expect("the database") == before);
}

// Scenario: a second gateway starts on the database of one that goes on.
// Guarantee: it ends and says why; the first does not notice.
#[test]
fn used_by_another_gateway() {
    let house = House::new(LONG);
    let gateway = house.start();
    let keys = Keys::create(&mut gateway.caller());
    let (code, lines) = house.start_in_vain().end();
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

// Scenario: a second gateway starts on the database of one that is about to end, as at a restart.
// Guarantee: it waits, and then serves everything that the first answered.
#[test]
fn handed_over() {
    let house = House::new(LONG);
    let first = house.start();
    let second = house.start_in_vain();
    let keys = Keys::create(&mut first.caller());
    first.stop();
    let second = house.ready(second);
    keys.assert_kept(&mut second.caller(), &[]);
    second.stop();
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("the file");
    file.seek(SeekFrom::Start(at)).expect("a place in it");
    file.write_all(bytes).expect("bytes");
}
