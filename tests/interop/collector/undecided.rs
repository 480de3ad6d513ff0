//! An authenticator that cannot decide for a while, and a Collector with its default retry.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use otlp_auth::server::{
    AuthenticateLayer, FixedTokens, InMemoryAuthenticator, ServerAuthenticator,
};
use otlp_auth::{Credential, Undecided, Verdict};
use otlp_auth_examples::{TlsListener, receiver, server_config};
use otlp_auth_tests::{Certificate, Items, PATIENCE, send};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::{Collector, DOCUMENTED, OPEN_RECEIVER, service};
use crate::KEY;

const BATCHES: usize = 4;
const ITEMS: usize = 6;

/// An authenticator that decides from its tokens, except while it is switched off.
struct Interrupted {
    tokens: FixedTokens,
    out_of_order: Arc<AtomicBool>,
    asked: UnboundedSender<()>,
}

impl ServerAuthenticator for Interrupted {
    type Future = Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        ready(if self.out_of_order.load(Ordering::SeqCst) {
            let _ = self.asked.send(());
            Err(Undecided::new("the key store does not answer"))
        } else {
            self.tokens.decide(credential)
        })
    }
}

// Scenario: a Collector sends over both transports. For a while the authenticator cannot decide,
// and then it can decide again.
// Guarantee: every item arrives. An outage of the authenticator loses no telemetry.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_no_telemetry() {
    let certificate = Certificate::new();
    let out_of_order = Arc::new(AtomicBool::new(true));
    let (asked, mut was_asked) = unbounded_channel();
    let (accepted, mut batches) = unbounded_channel();
    let tokens = FixedTokens::new([("team-a", KEY)]).expect("a token");
    let authenticator = Interrupted { tokens, out_of_order: Arc::clone(&out_of_order), asked };

    let receiver = receiver(move |batch| _ = accepted.send(batch));
    let router =
        axum::Router::new().fallback_service(receiver).layer(AuthenticateLayer::new(authenticator));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = server_config(&certificate.cert(), &certificate.key()).expect("a certificate");
    tokio::spawn(
        axum::serve(TlsListener::new(listener, tls).expect("a listener"), router).into_future(),
    );

    let exporters = format!(
        "
  exporters:
    otlp/stackstate:
      auth: {{authenticator: bearertokenauth}}
      endpoint: localhost:{port}
      tls: {{ca_file: {ca}}}
    otlphttp/stackstate:
      auth: {{authenticator: bearertokenauth}}
      endpoint: https://localhost:{port}
      tls: {{ca_file: {ca}}}
",
        ca = certificate.cert().display()
    );
    let config = [
        DOCUMENTED,
        OPEN_RECEIVER,
        &exporters,
        &service("bearertokenauth", "otlp/stackstate, otlphttp/stackstate"),
    ]
    .concat();
    let collector = Collector::start(&config, KEY);
    for _ in 0..BATCHES {
        send(&collector.channel(), ITEMS).await;
    }
    // Wait until every batch of every signal was answered as undecided once, on both transports.
    for _ in 0..BATCHES * 3 * 2 {
        timeout(PATIENCE, was_asked.recv())
            .await
            .expect("the Collector sends")
            .expect("the authenticator lives");
    }
    assert!(batches.try_recv().is_err(), "an undecided request was let through");
    out_of_order.store(false, Ordering::SeqCst);

    let mut items = Items::default();
    while !(items.reach("grpc", BATCHES * ITEMS) && items.reach("http", BATCHES * ITEMS)) {
        let batch = timeout(PATIENCE, batches.recv())
            .await
            .expect("the Collector tries again")
            .expect("the receiver lives");
        items.add(&batch.signal.to_string(), &batch.transport.to_string(), batch.items);
    }
    let lines = collector.program.stop();
    assert_eq!(items.total(), BATCHES * ITEMS * 3 * 2, "{items:?}");
    assert!(!lines.iter().any(|line| line.contains("ropping data")), "{lines:#?}");
}
