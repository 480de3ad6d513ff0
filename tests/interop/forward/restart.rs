//! Restarts of the gateway, and of what is behind it, while senders send.

use otlp_auth_tests::send;
use tokio::sync::oneshot;

use super::{Chain, EXPORTERS, sender_config};
use crate::collector::Collector;

/// How often the gateway, or the Collector behind it, is restarted.
const RESTARTS: usize = 3;

/// How many batches are received between two restarts: more than a Collector sends at a time.
const BATCHES: usize = 60;

const ITEMS: usize = 3;

/// A Collector that sends without a pause, until it is stopped.
struct Sending {
    collector: Collector,
    stop: oneshot::Sender<()>,
    batches: tokio::task::JoinHandle<usize>,
    exporters: usize,
}

impl Sending {
    fn start(chain: &Chain, exporters: &[&str]) -> Self {
        let collector = Collector::start(&sender_config(chain, exporters), "");
        let channel = collector.channel();
        let (stop, mut stopped) = oneshot::channel::<()>();
        let batches = tokio::spawn(async move {
            let mut batches = 0;
            while stopped.try_recv().is_err() {
                send(&channel, ITEMS).await;
                batches += 1;
            }
            batches
        });
        Self { collector, stop, batches, exporters: exporters.len() }
    }

    /// Stops the sender. Returns how many items it has sent with all exporters, once as many are
    /// received.
    async fn stop(self, chain: &mut Chain) -> usize {
        let _ = self.stop.send(());
        let sent = self.batches.await.expect("the sender") * ITEMS * 3 * self.exporters;
        tokio::task::block_in_place(|| chain.wait_for_items(sent));
        let lines = self.collector.program.stop();
        assert!(!lines.iter().any(|line| line.contains("ropping data")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("nauthenticated")), "{lines:#?}");
        sent
    }
}

// Scenario: the gateway is stopped and started again, three times, while a Collector sends over
// both transports.
// Guarantee: nothing is lost, refused, or received twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_gateway_loses_nothing() {
    let mut chain = Chain::start();
    let sending = Sending::start(&chain, &EXPORTERS);
    for _ in 0..RESTARTS {
        tokio::task::block_in_place(|| {
            chain.wait_for_batches(BATCHES);
            chain.restart_gateway();
        });
    }
    let sent = sending.stop(&mut chain).await;
    assert_eq!(chain.stop().total(), sent);
}

// Scenario: the gateway is killed and started again, three times, while a Collector sends over both
// transports.
// Guarantee: nothing is lost or refused. What was in flight may be received twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_gateway_loses_nothing() {
    let mut chain = Chain::start();
    let sending = Sending::start(&chain, &EXPORTERS);
    for _ in 0..RESTARTS {
        tokio::task::block_in_place(|| {
            chain.wait_for_batches(BATCHES);
            chain.kill_gateway();
        });
    }
    let sent = sending.stop(&mut chain).await;
    assert!(chain.stop().total() >= sent);
}

// Scenario: the Collector behind the gateway is stopped, stays away until the sender tries again,
// and is started again, three times for each transport.
// Guarantee: the gateway tells the sender each time to try again, and nothing is lost. What was in
// flight may be received twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_upstream_loses_nothing() {
    for exporter in EXPORTERS {
        let mut chain = Chain::start();
        let mut sending = Sending::start(&chain, &[exporter]);
        for _ in 0..RESTARTS {
            tokio::task::block_in_place(|| {
                chain.wait_for_batches(BATCHES);
                let ports = chain.stop_upstream();
                let retries = |line: &str| line.contains("Will retry").then_some(());
                sending.collector.program.wait_until("a retry", retries);
                chain.start_upstream(ports);
            });
        }
        let sent = sending.stop(&mut chain).await;
        assert!(chain.stop().total() >= sent);
    }
}
