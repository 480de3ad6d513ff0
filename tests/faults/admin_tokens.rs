//! An admin token file in the middle of being written.

use std::fs;
use std::time::Instant;

use ingestion_api::route;
use otlp_auth_tests::PATIENCE;

use crate::gateway::{Caller, House};

/// A line of which some blocks were not written.
const HALF: &str = "ops=0123456789abcdef\0\0\0\0\0\0\0\0";

const NEW_TOKEN: &str = "0123456789abcdef0123456789abcdef";

// Scenario: somebody rewrites the file in place and pauses in the middle; later the rest is there.
// Guarantee: the last good token is accepted until the file is whole, and half a line never; then
// the new one alone is.
#[test]
fn half_of_it_changes_nothing() {
    let house = House::new(&[]);
    let mut gateway = house.start();
    let (mut old, mut new) = (gateway.caller(), gateway.caller());
    new.identify(NEW_TOKEN);
    let status = |caller: &mut Caller| caller.manage("GET", route::API_KEYS, "").status;
    let path = house.path("admin-tokens");
    fs::write(&path, HALF).expect("half of the file");
    gateway.program.wait_for("the last good tokens stay");
    assert_eq!((status(&mut old), status(&mut new)), (200, 401));
    fs::write(&path, format!("ops={NEW_TOKEN}\n")).expect("the whole file");
    let deadline = Instant::now() + PATIENCE;
    while status(&mut new) != 200 {
        assert!(Instant::now() < deadline, "the new token is never accepted");
    }
    assert_eq!(status(&mut old), 401);
    gateway.stop();
}

// Scenario: a gateway starts on a file with half of a line.
// Guarantee: it says so and ends, and the file is as it was.
#[test]
fn half_of_it_is_not_overwritten() {
    let house = House::new(&[]);
    fs::write(house.path("admin-tokens"), HALF).expect("half of the file");
    let (code, lines) = house.start_in_vain().end();
    assert_eq!(code, Some(69), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the admin token file")), "{lines:?}");
    assert_eq!(fs::read_to_string(house.path("admin-tokens")).expect("the file"), HALF);
}
