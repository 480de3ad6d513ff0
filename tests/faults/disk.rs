//! A disk that takes nothing more.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::gateway::House;
use crate::keys::{Key, Keys};

// Scenario: files may not grow any more while the gateway runs, then they may, and it is killed.
// Guarantee: changes are refused with 503 and are not made, decisions go on; then changes are made
// again; everything answered is kept.
#[test]
fn files_that_cannot_grow() {
    let house = House::new(&[]);
    let gateway = house.start_with_small_files();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let limit =
        |current| prlimit(Some(gateway.pid()), Resource::Fsize, Rlimit { current, maximum: None });
    limit(Some(1)).expect("a limit");
    keys.assert_not_changed(&mut caller, "the database");
    keys.assert_kept(&mut caller, &[]);
    limit(None).expect("no limit");
    let later = Key::create(&mut caller, "later");
    keys.assert_kept(&mut caller, &[&later]);
    drop(gateway);
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[&later]);
    gateway.stop();
}

// Scenario: the database and its directory may only be read, as a gateway starts, which is nobody's
// administrator. Guarantee: it says so and ends, and the file is as it was; a running one keeps
// what it answers.
#[test]
fn a_database_that_may_only_be_read() {
    let house = House::of_nobody(&[]);
    let gateway = house.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let database = house.path("keys.db");
    let protect = |is_protected| {
        let directory = database.parent().expect("a directory");
        for (path, mode, protected_mode) in
            [(database.as_path(), 0o600, 0o400), (directory, 0o700, 0o500)]
        {
            set_mode(path, if is_protected { protected_mode } else { mode });
        }
    };
    protect(true);
    let later = Key::create(&mut caller, "later");
    keys.assert_kept(&mut caller, &[&later]);
    gateway.stop();
    let before = fs::read(&database).expect("the database");
    let (code, lines) = house.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the database cannot be written")), "{lines:?}");
    assert!(fs::read(&database).expect("the database") == before);
    protect(false);
    let gateway = house.start();
    keys.assert_kept(&mut gateway.caller(), &[&later]);
    gateway.stop();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
}
