//! The OpenTelemetry SDK for Python as the client.

use std::process::Command;

use otlp_auth_tests::{Discarded, Gateway, Home, Items, Program, peer};

use crate::{KEY, RECEIVERS, TestFile, WRONG_KEY, start_receiver};

// Scenario: the Python exporters send each signal over each transport to each of our receivers,
// once with the right key and once with a wrong key.
// Guarantee: with the right key, the SDK reports success and every item is received. With the wrong
// key, the SDK reports failure and no item is received.
#[test]
fn only_the_right_key_is_accepted() {
    const ITEMS: usize = 9;
    for name in RECEIVERS {
        let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
        let (receiver, port) = start_receiver(name, &tokens.path(), None);
        for protocol in ["grpc", "http"] {
            for signal in ["traces", "metrics", "logs"] {
                for (key, expected, result) in [(KEY, 0, "SUCCESS"), (WRONG_KEY, 1, "FAILURE")] {
                    let endpoint = format!("http://127.0.0.1:{port}");
                    let mut command = send(protocol, signal, &endpoint, ITEMS, key);
                    let (code, lines) = Program::start(&mut command).end();
                    assert_eq!(code, Some(expected), "{name} {protocol} {signal}: {lines:#?}");
                    let report = lines
                        .iter()
                        .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
                    assert_eq!(
                        report.expect("a report")["result"],
                        result,
                        "{name} {protocol} {signal}: {lines:#?}"
                    );
                }
            }
        }
        let lines = receiver.stop();
        let items = Items::of(&lines);
        for key in
            ["traces/grpc", "metrics/grpc", "logs/grpc", "traces/http", "metrics/http", "logs/http"]
        {
            assert_eq!(items[key], ITEMS, "{name} {key}");
        }
        assert!(!lines.iter().any(|line| line.contains(WRONG_KEY)), "{name} prints the wrong key");
    }
}

// Scenario: the Python exporters send each signal to the gateway with the two ports swapped:
// OTLP/gRPC to the port of OTLP/HTTP, and the reverse.
// Guarantee: the SDK reports success, and the gateway has received every item.
#[test]
fn swapped_ports_lose_nothing() {
    const ITEMS: usize = 9;
    let home = Home::new();
    let gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let key = home.create_key("swapped");
    for (protocol, listener) in [("grpc", "otlp_http"), ("http", "otlp_grpc")] {
        for signal in ["traces", "metrics", "logs"] {
            let mut command = send(protocol, signal, &gateway.url(listener), ITEMS, &key.secret);
            let (code, lines) = Program::start(&mut command).end();
            assert_eq!(code, Some(0), "{protocol} {signal}: {lines:#?}");
        }
    }
    let lines = gateway.program.stop();
    assert_eq!(Discarded::of(&lines).items, 2 * 3 * ITEMS, "{lines:#?}");
}

/// Returns a command that sends items of a signal with the Python SDK.
pub(crate) fn send(
    protocol: &str,
    signal: &str,
    endpoint: &str,
    items: usize,
    key: &str,
) -> Command {
    let mut command = peer("python/bin/python");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python/send.py"));
    command.args(["--protocol", protocol, "--signal", signal, "--endpoint", endpoint]);
    command.args(["--items", &items.to_string(), "--header", &format!("StackState {key}")]);
    command
}
