//! Tests of the commands on tokens of followers.

use crate::mock::{CREATED, KEY, LISTED, Mock, empty, json};
use crate::sts::Sts;

const TOKEN: &str = r#"{"role":"follower","id":9,"lastUpdateTimestamp":1,"name":"pipeline","status":"active","accepted":0,"connections":[{"address":"192.0.2.1","connectedTimestamp":1,"revisionsBehind":2,"millisecondsBehind":3456},{"address":"2001:db8::1","connectedTimestamp":1}]}"#;

/// Starts a server with one token, which has the id 9, and one key, which has the id 7.
fn gateway() -> Mock {
    let new = TOKEN.replace("\"id\"", &format!("\"apiKey\":\"{KEY}\",\"id\""));
    Mock::with_override("", move |request| match request.line.as_str() {
        "GET /api/server/info" => json(200, crate::mock::INFO),
        "GET /api/security/ingestion/api_keys?role=follower" => json(200, &format!("[{TOKEN}]")),
        "GET /api/security/ingestion/api_keys/7" => {
            json(200, r#"{"id":7,"lastUpdateTimestamp":1,"name":"edge"}"#)
        }
        line if line.starts_with("GET /api/security/ingestion/api_keys/9") => json(200, TOKEN),
        line if line.starts_with("DELETE ") => empty(204),
        _ => json(200, &new),
    })
}

// Scenario: a token is created, listed, rotated and deleted.
// Guarantee: the requests have the role. The token is printed once, when it is new. The list has
// each connected follower, and how far behind it is.
#[test]
fn a_token_has_every_command() {
    let mock = gateway();
    let run = |args: &[&str]| {
        let outcome = Sts::connected_to(&mock).run(&[&["follower"], args].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stdout
    };
    let created = run(&["create", "--name", "pipeline"]);
    assert!(created.contains(&format!("Follower token generated: {KEY}")), "{created}");
    assert_eq!(mock.last().body, "{\"name\":\"pipeline\",\"role\":\"follower\"}\n");
    let expected = "\
ID | NAME     | STATUS | EXPIRATION | LAST USE | FOLLOWER    | BEHIND           | DESCRIPTION\n\
9  | pipeline | active |            | never    | 192.0.2.1   | 2 changes, 3.4 s | -          \n\
9  | pipeline | active |            | never    | 2001:db8::1 | reads all keys   | -          \n";
    assert_eq!(run(&["list"]), expected);
    assert!(run(&["list", "-o", "json"]).contains("\"follower-tokens\": ["));
    assert!(run(&["rotate", "--id", "9"]).contains(KEY));
    assert!(mock.last().line.ends_with("/9/rotate"));
    assert!(run(&["delete", "--id", "9"]).contains("Follower token deleted: 9"));
    assert!(mock.last().line.starts_with("DELETE "));
}

// Scenario: the commands that need a token get the id of a key for ingestion.
// Guarantee: nothing is changed, and the message says why.
#[test]
fn a_key_for_ingestion_is_left_alone() {
    let mock = gateway();
    for command in ["delete", "rotate"] {
        let outcome = Sts::connected_to(&mock).run(&["follower", command, "--id", "7"]);
        assert_eq!(outcome.code, 2);
        assert!(outcome.stderr.contains("The key 7 is not a token of a follower"), "{outcome:?}");
    }
    assert!(mock.request_lines().iter().all(|line| line.starts_with("GET ")));
}

// Scenario: the commands on keys for ingestion get the id of a token.
// Guarantee: nothing is changed, and the message says why.
#[test]
fn a_token_is_left_alone() {
    let mock = gateway();
    for args in [&["delete", "--yes"][..], &["rotate"], &["update", "--name", "n"]] {
        let args = [&["ingestion-api-key"], args, &["--id", "9"]].concat();
        let outcome = Sts::connected_to(&mock).run(&args);
        assert_eq!(outcome.code, 2);
        assert!(outcome.stderr.contains("The key 9 is a token of a follower"), "{outcome:?}");
    }
    assert!(mock.request_lines().iter().all(|line| line.starts_with("GET ")));
}

// Scenario: a token is created with the name of another one.
// Guarantee: the token is printed, with a warning.
#[test]
fn a_second_token_with_a_name_is_noticed() {
    let new =
        TOKEN.replace("\"id\"", &format!("\"duplicateName\":true,\"apiKey\":\"{KEY}\",\"id\""));
    let mock = Mock::start(move |request| match request.line.split(' ').next() {
        Some("POST") => json(200, &new),
        _ => json(200, crate::mock::INFO),
    });
    let outcome = Sts::connected_to(&mock).run(&["follower", "create", "--name", "pipeline"]);
    assert_eq!((outcome.code, outcome.stdout.contains(KEY)), (0, true));
    assert!(outcome.stderr.contains("nother key has the name pipeline too"), "{outcome:?}");
}

// Scenario: the server does not know roles, as StackState's own.
// Guarantee: a key that it creates is not printed as a token, and the message says how to delete
// it. No key is listed as a token.
#[test]
fn a_server_without_roles_is_noticed() {
    let mock = Mock::start(|request| match request.line.split(' ').next() {
        Some("POST") => json(200, CREATED),
        _ if request.line.contains("api_keys") => json(200, LISTED),
        _ => json(200, crate::mock::INFO),
    });
    let outcome = Sts::connected_to(&mock).run(&["follower", "create", "--name", "pipeline"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("delete --id 250558013078953"), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains(KEY));
    let outcome = Sts::connected_to(&mock).run(&["follower", "list"]);
    assert_eq!(outcome.stdout, "No follower tokens found.\n");
}
