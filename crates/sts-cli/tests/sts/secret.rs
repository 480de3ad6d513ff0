//! Tests that secrets are never printed.

use crate::mock::{KEY, Mock, json};
use crate::sts::{Outcome, Sts};

fn all(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

// Scenario: commands on keys run with `-vv`. Each command runs with each kind of token.
// Guarantee: requests and responses are printed without the token. A key is printed only as the
// result of the command that creates it.
#[test]
fn verbose_output_has_no_secret() {
    let mock = Mock::contract();
    let url = mock.url();
    for token in ["--api-token", "--service-token", "--k8s-sa-token"] {
        for args in [
            &["create", "-n", "edge"][..],
            &["list"],
            &["delete", "-i", "7"],
            &["rotate", "-i", "7"],
            &["update", "-i", "7", "--enable"],
        ] {
            let outcome = Sts::new()
                .try_key(&[args, &[token, "admin-token-canary", "--url", &url, "-vv"]].concat());
            assert!(!all(&outcome).contains("canary"), "{args:?}: {outcome:?}");
            assert!(outcome.stderr.contains("GET http://127.0.0.1:"), "{outcome:?}");
            assert!(outcome.stderr.contains(": ***\n"), "{outcome:?}");
            assert!(!outcome.stderr.contains(KEY));
            assert_eq!(outcome.stdout.contains(KEY), args[0] == "create");
        }
    }
}

// Scenario: a key is checked with `-vv`. Every response repeats the key.
// Guarantee: the key is not printed.
#[test]
fn a_checked_key_is_not_printed() {
    let mock = Mock::start(|_| json(500, &format!("{{\"message\":\"{KEY}\"}}")));
    let url = mock.url();
    let args = [
        "ingestion-api-key",
        "check",
        "--agent",
        &url,
        "--otlp-http",
        &url,
        "--otlp-grpc",
        &url,
        "-vv",
    ];
    let outcome = Sts::new().run_with_input(&args, KEY);
    assert_eq!(outcome.code, 2);
    assert_eq!(mock.request_lines().len(), 3);
    assert!(!all(&outcome).contains(&KEY[10..18]), "{outcome:?}");
}

// Scenario: a key is given as an argument: instead of a command, instead of an id, and after
// commands that take no such argument.
// Guarantee: the command fails and does not print the key. The message says how to give a key.
#[test]
fn a_key_as_an_argument_is_refused() {
    for args in [&["check", KEY][..], &[KEY], &["list", KEY], &["delete", "--id", KEY]] {
        let outcome = Sts::new().try_key(args);
        let expected = "[ERROR] A key must not be an argument, because other users can read \
             arguments: give it in the environment variable API_KEY or on standard input\n";
        assert_eq!((outcome.code, outcome.stderr.as_str()), (3, expected), "{args:?}");
        assert!(!outcome.stdout.contains(KEY));
    }
}

// Scenario: contexts are saved, listed, shown, validated and deleted with `-vv`.
// Guarantee: the tokens of contexts are not printed. With `-o json` they are printed, as in the
// original command.
#[test]
fn tokens_of_contexts_are_not_printed() {
    let mock = Mock::contract();
    let sts = Sts::new();
    let url = mock.url();
    for args in [
        &["save", "--url", &url, "--api-token", "token-canary"][..],
        &["save", "-n", "b", "--url", &url, "--service-token", "token-canary"],
        &["list"],
        &["show"],
        &["validate"],
        &["set", "-n", "default"],
        &["delete", "-n", "b"],
    ] {
        let outcome = sts.run(&[&["context"], args, &["-vv"]].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(!all(&outcome).contains("canary"), "{args:?}: {outcome:?}");
    }
    assert!(sts.run(&["context", "list", "-o", "json"]).stdout.contains("token-canary"));
}
