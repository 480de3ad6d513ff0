//! Tests of the answers to many callers at the same time, while the keys cannot be read.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::program::{Gateway, Lines, PATIENCE};

/// The number of callers of each kind. Each of them has connections of its own.
const CALLERS: usize = 16;
/// The number of answers that a caller must get in each state of the gateway.
const ANSWERS: usize = 50;

/// How a component asks about a key.
#[derive(Clone, Copy, Debug)]
enum How {
    /// The first extension of a Collector: with the key in a body.
    Body,
    /// The second extension: with the key in a header, on the agent listener.
    Validate,
    /// A proxy.
    Forward,
}

struct Caller {
    client: Client,
    how: How,
    url: String,
    secret: String,
}

impl Caller {
    async fn ask(&self) -> StatusCode {
        let request = match self.how {
            How::Body => self.client.post(&self.url).json(&json!({"apiKey": self.secret})),
            How::Validate => self.client.get(&self.url).header("sts-api-key", &self.secret),
            How::Forward => self
                .client
                .get(&self.url)
                .header("authorization", format!("StackState {}", self.secret)),
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let has_wait = response.headers().contains_key("retry-after");
        assert_eq!(has_wait, status == StatusCode::SERVICE_UNAVAILABLE, "{:?} {status}", self.how);
        if !matches!(self.how, How::Forward) {
            assert!(response.text().await.unwrap().is_empty());
        }
        status
    }

    /// Asks until the answer is `next`, and then some more. Every answer before must be `current`.
    async fn ask_until(&self, current: StatusCode, next: StatusCode) {
        let mut answers = 0;
        while answers < ANSWERS {
            let status = self.ask().await;
            assert!(status == next || (answers == 0 && status == current), "{status}");
            answers += usize::from(status == next);
        }
    }
}

// Scenario: many components ask about a good and about a deleted key, in each of the ways in which
// they do, without a pause. Meanwhile the database is moved away for longer than `max_staleness`,
// and moved back.
// Guarantee: all callers get their answers at all times. Each of them sees the definite answer,
// then 503 with a time to come back, and then the definite answer again. Nobody ever sees the
// answer for the other key, so no component remembers a wrong one, and no sender loses data.
#[tokio::test]
async fn many_callers_see_an_outage_as_an_outage() {
    let gateway = Gateway::start_with(&[
        "--set=storage.poll_interval=100ms",
        "--set=storage.max_staleness=5s",
    ])
    .await;
    let (good, deleted) = (gateway.create("good").await, gateway.create("deleted").await);
    gateway.delete(deleted.id).await;
    let (database, elsewhere) =
        (gateway.state().join("keys.db"), gateway.state().join("elsewhere"));

    let kinds = [
        (How::Body, "authorize", "/internal/api/security/ingestion/authorize", (204, 403)),
        (How::Validate, "agent", "/stsAgent/api/v1/validate", (200, 403)),
        (How::Forward, "authorize", "/authorize", (204, 401)),
    ];
    // Everybody has seen the current state, and the database may change.
    let barrier = Arc::new(Barrier::new(CALLERS * kinds.len() + 1));
    let mut callers = JoinSet::new();
    for (how, listener, path, (allowed, refused)) in kinds {
        for number in 0..CALLERS {
            let (key, definite) =
                if number % 2 == 0 { (&good, allowed) } else { (&deleted, refused) };
            let definite = StatusCode::from_u16(definite).unwrap();
            let (url, secret) = (gateway.url(listener, path), key.secret.clone());
            let caller = Caller { client: crate::program::client(), how, url, secret };
            let barrier = Arc::clone(&barrier);
            callers.spawn(async move {
                let undecided = StatusCode::SERVICE_UNAVAILABLE;
                caller.ask_until(definite, definite).await;
                barrier.wait().await;
                caller.ask_until(definite, undecided).await;
                barrier.wait().await;
                caller.ask_until(undecided, definite).await;
            });
        }
    }
    timeout(PATIENCE, barrier.wait()).await.unwrap();
    fs::rename(&database, &elsewhere).unwrap();
    timeout(PATIENCE, barrier.wait()).await.unwrap();
    fs::rename(&elsewhere, &database).unwrap();
    timeout(PATIENCE, callers.join_all()).await.unwrap();
}

// Scenario: the process of the gateway is stopped for longer than `max_staleness`. Meanwhile the
// database is moved away, and a sender and a component write their requests. Then the process
// continues.
// Guarantee: both are told to try again, although the gateway still has the key in memory.
#[tokio::test]
async fn a_stopped_process_does_not_decide_from_old_keys() {
    const STALENESS: Duration = Duration::from_secs(2);
    let gateway = Gateway::start_with(&[
        "--set=storage.poll_interval=100ms",
        &format!("--set=storage.max_staleness={}s", STALENESS.as_secs()),
    ])
    .await;
    let key = gateway.create("edge").await.secret;
    assert_eq!(gateway.validate(&key).await, StatusCode::OK);
    let body = json!({"apiKey": key}).to_string();
    let requests = [
        (
            "otlp_http",
            format!(
                "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {key}\r\ncontent-length: 0\r\n\r\n"
            ),
        ),
        (
            "authorize",
            format!(
                "POST /internal/api/security/ingestion/authorize HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        ),
    ];
    // The clock of the gateway is a few milliseconds behind.
    let streams = gateway.pause(STALENESS + Duration::from_millis(100), async {
        fs::rename(gateway.state().join("keys.db"), gateway.state().join("elsewhere")).unwrap();
        let mut streams = Vec::new();
        for (listener, request) in requests {
            let mut stream = gateway.connect(listener).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            streams.push(stream);
        }
        streams
    });
    for stream in streams.await {
        let answer = Lines::of(stream);
        let status = answer.wait_for("HTTP/1.1").await;
        assert!(status.starts_with("HTTP/1.1 503"), "{status}");
    }
}
