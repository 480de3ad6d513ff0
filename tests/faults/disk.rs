//! Files that cannot grow, and files that may only be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::gateway::TestEnv;
use crate::keys::{Key, Keys};

// Scenario: no file can grow while a gateway runs. Later files can grow again. Then the gateway is
// killed.
// Guarantee: while no file can grow, every change is refused with 503 and is not made, and
// decisions continue. Later changes succeed again. Every acknowledged change is stored.
#[test]
fn files_that_cannot_grow() {
    let env = TestEnv::new(&[]);
    let gateway = env.start_with_small_files();
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
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[&later]);
    gateway.stop();
}

// Scenario: a running gateway is not root, and its database and the directory of the database
// become read-only. Then another gateway starts with the same database.
// Guarantee: the running gateway keeps every change that it acknowledges. The other gateway reports
// the database and exits, and does not change the file.
#[test]
fn a_database_that_may_only_be_read() {
    let env = TestEnv::of_nobody(&[]);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let keys = Keys::create(&mut caller);
    let database = env.path("keys.db");
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
    let (code, lines) = env.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the database cannot be written")), "{lines:?}");
    assert!(fs::read(&database).expect("the database") == before);
    protect(false);
    let gateway = env.start();
    keys.assert_kept(&mut gateway.caller(), &[&later]);
    gateway.stop();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
}
