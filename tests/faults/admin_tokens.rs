//! An admin token file that is read while it is being written.

use std::fs;
use std::time::Instant;

use ingestion_api::route;
use otlp_auth_tests::PATIENCE;

use crate::gateway::{Caller, TestEnv};

/// A token line of a file that is still being written: the end of the token is missing.
const HALF: &str = "ops=0123456789abcdef\0\0\0\0\0\0\0\0";

const NEW_TOKEN: &str = "0123456789abcdef0123456789abcdef";

// Scenario: the admin token file is rewritten in place, and the writer pauses in the middle of a
// line.
// Guarantee: the gateway accepts the old token until the file is complete. It never accepts half of
// a line as a token. Once the file is complete, the gateway accepts only the new token.
#[test]
fn half_of_it_changes_nothing() {
    let env = TestEnv::new(&[]);
    let mut gateway = env.start();
    let (mut old, mut new) = (gateway.caller(), gateway.caller());
    new.identify(NEW_TOKEN);
    let status = |caller: &mut Caller| caller.manage("GET", route::API_KEYS, "").status;
    let path = env.path("admin-tokens");
    fs::write(&path, HALF).expect("half of the file");
    gateway.server.program.wait_for("the last good tokens stay");
    assert_eq!((status(&mut old), status(&mut new)), (200, 401));
    fs::write(&path, format!("ops={NEW_TOKEN}\n")).expect("the whole file");
    let deadline = Instant::now() + PATIENCE;
    while status(&mut new) != 200 {
        assert!(Instant::now() < deadline, "the new token is never accepted");
    }
    assert_eq!(status(&mut old), 401);
    gateway.stop();
}

// Scenario: a gateway starts while its admin token file has only half of a line.
// Guarantee: the gateway reports the file and exits. It does not change the file.
#[test]
fn half_of_it_is_not_overwritten() {
    let env = TestEnv::new(&[]);
    fs::write(env.path("admin-tokens"), HALF).expect("half of the file");
    let (code, lines) = env.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the admin token file")), "{lines:?}");
    assert_eq!(fs::read_to_string(env.path("admin-tokens")).expect("the file"), HALF);
}
