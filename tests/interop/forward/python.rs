//! The SDK for Python through the gateway to a Collector.

use otlp_auth_tests::Program;

use super::Chain;
use crate::python::send;

const ITEMS: usize = 7;

/// How often the gateway is restarted while the SDK sends.
const RESTARTS: usize = 3;

// Scenario: the Python SDK sends each signal over each transport through the gateway, once with a
// good key and once with an unknown one.
// Guarantee: with the good key, the SDK reports success and every item is received. With the other
// one, it reports failure.
#[test]
fn the_python_sdk_on_one_side() {
    let chain = Chain::start();
    for protocol in ["grpc", "http"] {
        let endpoint =
            format!("http://{}", if protocol == "grpc" { &chain.grpc } else { &chain.http });
        for signal in ["traces", "metrics", "logs"] {
            for (key, expected) in [(&*chain.key.secret, 0), ("svcapikey_unknown", 1)] {
                let mut command = send(protocol, signal, &endpoint, ITEMS, key);
                let (code, lines) = Program::start(&mut command).end();
                assert_eq!(code, Some(expected), "{protocol} {signal}: {lines:#?}");
            }
        }
    }
    assert_eq!(chain.stop().total(), 2 * 3 * ITEMS);
}

// Scenario: the gateway is stopped and started again, three times, while the Python SDK sends over
// each transport.
// Guarantee: the SDK reports success, and every item is received exactly once.
#[test]
fn a_restart_loses_nothing_of_an_sdk() {
    const ITEMS: usize = 60_000;
    let mut chain = Chain::start();
    for protocol in ["grpc", "http"] {
        let endpoint =
            format!("http://{}", if protocol == "grpc" { &chain.grpc } else { &chain.http });
        let mut command = send(protocol, "logs", &endpoint, ITEMS, &chain.key.secret);
        let sender = Program::start(command.args(["--timeout", "60"]));
        for _ in 0..RESTARTS {
            chain.wait_for_batches(5);
            chain.restart_gateway();
        }
        let (code, lines) = sender.end();
        assert_eq!(code, Some(0), "{protocol}: {lines:#?}");
    }
    assert_eq!(chain.stop().total(), 2 * ITEMS);
}
