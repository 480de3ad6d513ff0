//! Different senders through the gateway to a Collector.

use otlp_auth_tests::{Program, peer, send};

use super::{Chain, EXPORTERS, sender_config};
use crate::collector::Collector;

const BATCHES: usize = 5;
const ITEMS: usize = 7;

/// The signals, and the flag of telemetrygen that says how many of each to send.
const SIGNALS: [(&str, &str); 3] =
    [("traces", "--traces"), ("metrics", "--metrics"), ("logs", "--logs")];

// Scenario: a Collector sends all three signals over both transports to the gateway, which forwards
// them to another Collector.
// Guarantee: every item is received exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_on_both_sides() {
    let mut chain = Chain::start();
    let sender = Collector::start(&sender_config(&chain, &EXPORTERS), "");
    for _ in 0..BATCHES {
        send(&sender.channel(), ITEMS).await;
    }
    let sent = BATCHES * ITEMS * 3 * 2;
    chain.wait_for_items(sent);
    let lines = sender.program.stop();
    assert!(!lines.iter().any(|line| line.contains("ropping data")), "{lines:#?}");
    assert_eq!(chain.stop().total(), sent);
}

// Scenario: telemetrygen sends each signal over each transport through the gateway, once with a
// good key and once with an unknown one.
// Guarantee: with the good key, it ends with exit code 0 and every item is received. With the other
// one, nothing is received.
#[test]
fn telemetrygen_on_one_side() {
    const SPANS_OF_A_TRACE: usize = 2;
    let mut chain = Chain::start();
    let mut sent = 0;
    for protocol in ["grpc", "http"] {
        for (signal, count) in SIGNALS {
            let generate = |key: &str| {
                let endpoint = if protocol == "grpc" { &chain.grpc } else { &chain.http };
                let mut command = peer("telemetrygen");
                command.args([signal, "--otlp-insecure", "--otlp-endpoint", endpoint]);
                command.args([count, &ITEMS.to_string(), "--rate", "0", "--workers", "2"]);
                command.args(["--otlp-header", &format!("authorization=\"StackState {key}\"")]);
                if protocol == "http" {
                    command.arg("--otlp-http");
                }
                Program::start(&mut command).end()
            };
            generate("svcapikey_unknown");
            let (code, lines) = generate(&chain.key.secret);
            assert_eq!(code, Some(0), "{protocol} {signal}: {lines:#?}");
            assert!(!lines.iter().any(|line| line.contains("failed")), "{lines:#?}");
            sent += 2 * ITEMS * if signal == "traces" { SPANS_OF_A_TRACE } else { 1 };
            chain.wait_for_items(sent);
        }
    }
    assert_eq!(chain.stop().total(), sent);
}
