//! The log while a caller is refused very often.

use ingestion_api::route;

use crate::gateway::TestEnv;
use crate::http::{Client, request};

/// How many calls are refused.
const CALLS: usize = 20_000;

/// The largest number of lines about refused calls in a minute, and their longest sum, in bytes.
const LINES: usize = 128;
const BYTES: usize = 64 << 10;

// Scenario: 20,000 management calls without a credential are refused. Some of them have a secret as
// their method and in their path.
// Guarantee: the log stays short, says how many calls it has left out, and has no part of what was
// sent.
#[test]
fn refused_calls_do_not_fill_the_log() {
    const SECRET: &str = "iapikeyok-Canary00-SentAsA-MethodOf-1a2b3c";
    let env = TestEnv::new(&[]);
    let gateway = env.start();
    let paths: Vec<_> = (0..CALLS)
        .map(|number| format!("{}{}/{number}-{SECRET}", route::API_PATH, route::API_KEYS))
        .collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let mut client = Client::new(gateway.address("management"));
    let statuses = client.statuses(&paths, |path| request(SECRET, path, &[], ""));
    assert!(statuses.iter().all(|&status| status == 401), "{statuses:?}");

    let lines = gateway.server.program.stop();
    assert!(!lines.iter().any(|line| line.contains("Canary")), "a part of a request is logged");
    let bytes: usize = lines.iter().map(String::len).sum();
    let left_out: usize = lines.iter().filter_map(|line| left_out(line)).sum();
    println!("{} lines, {bytes} bytes, {left_out} left out", lines.len());
    assert!(lines.len() < 2 * LINES && bytes < BYTES, "{} lines, {bytes} bytes", lines.len());
    assert!((CALLS - 2 * LINES..CALLS).contains(&left_out), "{left_out} lines are left out");
}

/// Returns how many lines were left out, if the line says so.
fn left_out(line: &str) -> Option<usize> {
    line.split("left_out=").nth(1)?.split(' ').next()?.parse().ok()
}
