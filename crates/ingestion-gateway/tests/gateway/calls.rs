//! A client of gRPC that sees every frame of a call: what it may write, what it reads, and how the
//! call ends.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::program::{Gateway, PATIENCE};

pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const ARROW: &str =
    "/opentelemetry.proto.experimental.arrow.v1.ArrowTracesService/ArrowTraces";

/// A message without content, with its prefix.
pub(crate) const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// A connection to the gateway. Dropping it closes the connection.
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A call to the gateway.
pub(crate) struct Call {
    pub(crate) messages: SendStream<Bytes>,
    response: ResponseFuture,
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) messages: Vec<u8>,
    pub(crate) status: Status,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The status of gRPC, and whether it says when to try again.
    Code { code: u8, has_retry_info: bool },
    /// The call was reset with this error.
    Reset(Option<Reason>),
    /// The call ended without a status.
    Missing,
}

impl Status {
    pub(crate) const OK: Self = Self::Code { code: 0, has_retry_info: false };
    /// `UNAVAILABLE`, and when to try again.
    pub(crate) const UNAVAILABLE: Self = Self::Code { code: 14, has_retry_info: true };
    pub(crate) const UNAUTHENTICATED: Self = Self::Code { code: 16, has_retry_info: false };

    fn of(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().unwrap().parse().unwrap();
        let has_retry_info = headers.contains_key("grpc-status-details-bin");
        Some(Self::Code { code, has_retry_info })
    }
}

impl Client {
    pub(crate) async fn connect(gateway: &Gateway, listener: &str) -> Self {
        let stream = gateway.connect(listener).await;
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, driver }
    }

    /// Opens a call with this key.
    pub(crate) async fn open(&self, path: &str, key: &str) -> Call {
        self.try_open(path, key).await.expect("the connection is open")
    }

    /// Does the same, unless the gateway has ended the connection.
    pub(crate) async fn try_open(&self, path: &str, key: &str) -> Option<Call> {
        let ready = timeout(PATIENCE, self.send.clone().ready()).await;
        let mut send = ready.expect("the gateway allows another call").ok()?;
        let request = Request::post(format!("http://g{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("StackState {key}"));
        let (response, messages) = send.send_request(request.body(()).unwrap(), false).ok()?;
        Some(Call { messages, response })
    }

    /// Makes a call with an empty message, and returns how it ends.
    pub(crate) async fn call(&self, path: &str, key: &str) -> End {
        let mut call = self.open(path, key).await;
        // The gateway may have refused the call already.
        let _ = call.messages.send_data(EMPTY, true);
        call.end().await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Call {
    /// Sends these bytes, as fast as the gateway takes them.
    pub(crate) async fn send(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.messages.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|cx| self.messages.poll_capacity(cx)).await;
            let Some(capacity) = capacity.transpose()? else { return Err(Reason::CANCEL.into()) };
            self.messages.send_data(bytes.split_to(capacity.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// Waits for the head of the response, and returns the stream of its messages. The head must
    /// not be the end.
    pub(crate) async fn response(&mut self) -> RecvStream {
        let response = timeout(PATIENCE, &mut self.response).await.expect("a response").unwrap();
        response.into_body()
    }

    /// Waits for the end of the call.
    pub(crate) async fn end(self) -> End {
        let response = timeout(PATIENCE, self.response).await.expect("a response, or an end");
        let (head, body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => {
                return End { messages: Vec::new(), status: Status::Reset(error.reason()) };
            }
        };
        assert_eq!(head.status, 200);
        match Status::of(&head.headers) {
            Some(status) => End { messages: Vec::new(), status },
            None => end(body).await,
        }
    }
}

/// Reads the messages and the status of a response.
pub(crate) async fn end(mut body: RecvStream) -> End {
    let mut messages = Vec::new();
    while let Some(data) = timeout(PATIENCE, body.data()).await.expect("a message, or an end") {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                messages.extend_from_slice(&data);
            }
            Err(error) => return End { messages, status: Status::Reset(error.reason()) },
        }
    }
    let status = match timeout(PATIENCE, body.trailers()).await.expect("trailers, or an end") {
        Ok(trailers) => trailers.and_then(|trailers| Status::of(&trailers)),
        Err(error) => Some(Status::Reset(error.reason())),
    };
    End { messages, status: status.unwrap_or(Status::Missing) }
}
