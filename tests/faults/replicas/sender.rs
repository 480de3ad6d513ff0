//! Senders that repeat what was not accepted, as the specification of OTLP says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::http::{Client, request};

/// The number of items in a batch.
const ITEMS: usize = 3;

/// A batch of logs over HTTP.
const BATCH: &str = r#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{}, {}, {}]}]}]}"#;

/// The pause of a sender after an answer that does not say how long it has to wait.
const PAUSE: Duration = Duration::from_millis(500);

/// The numbers of items that a sender has sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) accepted: usize,
    /// The items that the sender dropped, because the answer said that repeating is of no use.
    pub(super) dropped: usize,
    /// The answers because of which items were dropped.
    refusals: Vec<String>,
    /// The number of times that a batch was sent again.
    repeated: usize,
    /// The items that were sent again although they may have been received: nobody said that they
    /// were not.
    pub(super) unanswered: usize,
}

/// An answer to a batch.
pub(super) enum Answer {
    Accepted,
    /// The gateway did not take the batch.
    ComeBack(Duration),
    /// Nobody knows whether a gateway took the batch.
    Unanswered,
    Refused(String),
}

/// Sends one batch with one key over one transport.
pub(super) trait Send {
    fn send(&mut self) -> Answer;
}

/// Sends batches until `stop`. The last batch is repeated until it is accepted, too.
pub(super) fn send_until(mut sender: impl Send, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    while !stop.load(Ordering::SeqCst) {
        loop {
            match sender.send() {
                Answer::Accepted => {
                    sent.accepted += ITEMS;
                    break;
                }
                Answer::ComeBack(pause) => {
                    sent.repeated += 1;
                    thread::sleep(pause);
                }
                Answer::Unanswered => {
                    sent.repeated += 1;
                    sent.unanswered += ITEMS;
                    thread::sleep(PAUSE);
                }
                Answer::Refused(why) => {
                    sent.dropped += ITEMS;
                    sent.refusals.push(why);
                    break;
                }
            }
        }
    }
    sent
}

/// Sends over HTTP.
pub(super) struct Http {
    address: SocketAddr,
    client: Client,
    request: Vec<u8>,
}

impl Http {
    pub(super) fn new(address: SocketAddr, key: &str) -> Self {
        let authorization = format!("StackState {key}");
        let headers =
            [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let request = request("POST", "/v1/logs", &headers, BATCH);
        Self { address, client: Client::new(address), request }
    }
}

impl Send for Http {
    fn send(&mut self) -> Answer {
        let answer = self.client.call(&self.request);
        let status = answer.as_ref().map(|answer| answer.status).ok();
        if status == Some(200) {
            return Answer::Accepted;
        }
        // The gateway ends a connection whose request it did not take.
        self.client = Client::new(self.address);
        match answer {
            Ok(answer) if matches!(answer.status, 429 | 502 | 503 | 504) => {
                let seconds = answer.retry_after.and_then(|seconds| seconds.parse().ok());
                // Only the gateway itself says when to come back.
                seconds.map_or(Answer::Unanswered, |seconds| {
                    Answer::ComeBack(Duration::from_secs(seconds))
                })
            }
            Ok(answer) => Answer::Refused(format!("{} {}", answer.status, answer.body)),
            Err(_) => Answer::Unanswered,
        }
    }
}

/// Sends over gRPC.
pub(super) struct Grpc {
    runtime: Runtime,
    channel: Channel,
    key: String,
}

impl Grpc {
    pub(super) fn new(url: &str, key: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _entered = runtime.enter();
        let channel = Endpoint::from_shared(url.to_owned()).expect("a URL").connect_lazy();
        drop(_entered);
        Self { runtime, channel, key: format!("StackState {key}") }
    }
}

impl Send for Grpc {
    fn send(&mut self) -> Answer {
        let log_records = vec![LogRecord::default(); ITEMS];
        let scope = ScopeLogs { log_records, ..ScopeLogs::default() };
        let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
        let mut request = Request::new(ExportLogsServiceRequest { resource_logs: vec![resource] });
        let key = self.key.parse().expect("a header value");
        request.metadata_mut().insert("authorization", key);
        let mut client = LogsServiceClient::new(self.channel.clone());
        match self.runtime.block_on(client.export(request)) {
            Ok(_) => Answer::Accepted,
            // The gateway itself says in the details when to come back.
            Err(status) if status.code() == Code::Unavailable && status.details().is_empty() => {
                Answer::Unanswered
            }
            Err(status) if status.code() == Code::Unavailable => Answer::ComeBack(PAUSE),
            Err(status) => Answer::Refused(status.to_string()),
        }
    }
}
