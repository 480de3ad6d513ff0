//! Restarts of the gateway, and of what is behind it, while senders send.

use otlp_auth_tests::send;
use tokio::sync::oneshot;

use super::{Chain, sender_config};
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
}

impl Sending {
    fn start(chain: &Chain, has_queue: bool) -> Self {
        let collector = Collector::start(&sender_config(chain, has_queue), "");
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
        Self { collector, stop, batches }
    }

    /// Stops the sender. Returns how many items it has sent over both transports, once all of them
    /// are received.
    async fn stop(self, chain: &mut Chain) -> usize {
        let _ = self.stop.send(());
        let sent = self.batches.await.expect("the sender") * ITEMS * 3 * 2;
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
    let sending = Sending::start(&chain, true);
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
// Guarantee: nothing is lost or refused. What was in flight may be received twice. Therefore the
// number of received items does not show when the last batch is received, and the Collector has no
// queue: it answers a batch once it is received.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_gateway_loses_nothing() {
    let mut chain = Chain::start();
    let sending = Sending::start(&chain, false);
    for _ in 0..RESTARTS {
        tokio::task::block_in_place(|| {
            chain.wait_for_batches(BATCHES);
            chain.kill_gateway();
        });
    }
    let sent = sending.stop(&mut chain).await;
    assert!(chain.stop().total() >= sent);
}

// Scenario: the Collector behind the gateway is stopped, stays away while further batches are sent,
// and is started again, three times.
// Guarantee: the gateway tells the sender each time to try again, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_upstream_loses_nothing() {
    let mut chain = Chain::start();
    let mut sending = Sending::start(&chain, true);
    for _ in 0..RESTARTS {
        tokio::task::block_in_place(|| {
            chain.wait_for_batches(BATCHES);
            let ports = chain.stop_upstream();
            for transport in ["otlp/gateway", "otlphttp/gateway"] {
                sending.collector.program.wait_until("a retry", |line| {
                    (line.contains("Will retry") && line.contains(transport)).then_some(())
                });
            }
            chain.start_upstream(ports);
        });
    }
    let sent = sending.stop(&mut chain).await;
    assert!(chain.stop().total() >= sent);
}
