//! A disk that is full. The test mounts a small file system, which not every system allows.

use std::fs::{self, File};
use std::io::Write as _;

use ingestion_api::route;

use crate::gateway::TestEnv;
use crate::keys::Key;

// Scenario: the disk of the database is full. Several keys are deleted, and one is disabled. Later
// the disk has space again.
// Guarantee: keys can be revoked on the full disk, and are refused at once. Other changes are
// refused with 503 and are not made. Later changes succeed again.
#[test]
fn keys_are_revoked_on_a_full_disk() {
    let env = TestEnv::new(&[]);
    let (gateway, disk) = env.start_on_small_disk();
    let mut caller = gateway.caller();
    let revoked: Vec<_> = (0..10).map(|_| Key::create(&mut caller, "to be revoked")).collect();
    let disabled = Key::create(&mut caller, "to be disabled");
    let kept = Key::create(&mut caller, "kept");
    let filler = disk.join("filler");
    let mut file = File::create(&filler).expect("a file");
    while file.write_all(&[0xa5; 4096]).is_ok() {}

    let answer = loop {
        // The log may still have room for some changes.
        let answer = caller.create("no room");
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(
        (answer.status, answer.body.contains("the disk is full")),
        (503, true),
        "{answer:?}"
    );
    for key in &revoked {
        let answer = caller.delete(key.id);
        assert_eq!(answer.status, 204, "{}", answer.body);
        assert_eq!(caller.export(&key.secret).status, 401);
    }
    let path = route::api_key(disabled.id);
    let answer = caller.manage("PATCH", &path, r#"{"enabled": false}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(caller.export(&disabled.secret).status, 401);
    assert_eq!(caller.export(&kept.secret).status, 200);
    fs::remove_file(&filler).expect("space");
    drop(file);
    Key::create(&mut caller, "later");
    let listed: Vec<_> = caller.list().iter().filter_map(|key| key["id"].as_i64()).collect();
    assert!(listed.contains(&kept.id) && revoked.iter().all(|key| !listed.contains(&key.id)));
    gateway.stop();
}
