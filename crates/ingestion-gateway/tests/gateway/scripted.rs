//! Upstreams whose answers a test writes itself, byte by byte or frame by frame.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Connection as H2Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::program::PATIENCE;

/// How long a test waits for something that must not happen. A correct gateway passes however short
/// this time is; a longer time only finds more mistakes.
const MOMENT: Duration = Duration::from_millis(200);

/// A socket to which the gateway forwards.
pub(crate) struct Upstream {
    listener: TcpListener,
    address: String,
}

/// A connection of the gateway over HTTP/1.1.
pub(crate) struct Connection {
    stream: TcpStream,
    read: BytesMut,
}

/// A request as it arrived, read by a strict reader.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The request line.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A connection of the gateway over HTTP/2. Dropping it closes the connection.
pub(crate) struct GrpcConnection {
    calls: mpsc::UnboundedReceiver<Call>,
    go_away: Arc<Notify>,
    driver: JoinHandle<()>,
}

/// A call that the gateway has forwarded.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

impl Upstream {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// Returns the setting that makes this the upstream of OTLP/HTTP, OTLP/gRPC or agents.
    pub(crate) fn setting(&self, upstream: &str) -> String {
        format!("--set=upstream.{upstream}.endpoint=http://{}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the next connection of the gateway.
    pub(crate) async fn accept(&self) -> Connection {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        Connection { stream, read: BytesMut::new() }
    }

    /// Waits for the next connection of the gateway, which is for gRPC.
    pub(crate) async fn accept_grpc(&self) -> GrpcConnection {
        self.accept_grpc_with(&h2::server::Builder::new()).await
    }

    pub(crate) async fn accept_grpc_with(&self, builder: &h2::server::Builder) -> GrpcConnection {
        let stream = self.accept().await.stream;
        let handshake = builder.handshake(stream);
        let connection = timeout(PATIENCE, handshake).await.unwrap().unwrap();
        let (arrived, calls) = mpsc::unbounded_channel();
        let go_away = Arc::<Notify>::default();
        let driver = tokio::spawn(drive(connection, arrived, Arc::clone(&go_away)));
        GrpcConnection { calls, go_away, driver }
    }

    /// Asserts that the gateway does not connect, or that it has not by now.
    pub(crate) async fn assert_left_alone(&self) {
        assert!(timeout(MOMENT, self.listener.accept()).await.is_err(), "the gateway connects");
    }
}

impl Connection {
    /// Reads until the end of the next head, or returns `None` at the end of the connection.
    async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = self.read.split_to(end + 4);
                return Some(String::from_utf8(head[..end].to_vec()).unwrap());
            }
            if !self.fill().await {
                assert!(self.read.is_empty(), "half a head: {:?}", self.read);
                return None;
            }
        }
    }

    /// Reads some more. Returns whether there was anything to read.
    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.expect("the gateway writes, or ends the connection").is_ok_and(|read| read > 0)
    }

    /// Reads the head of the next request, and leaves its body unread.
    pub(crate) async fn arrived_head(&mut self) -> Option<Arrived> {
        let head = self.head().await?;
        assert!(!head.contains(['\0']) && !head.replace("\r\n", "").contains(['\r', '\n']));
        let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
        let headers = headers.lines().map(|header| {
            let (name, value) = header.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let (line, headers) = (line.to_owned(), headers.collect());
        Some(Arrived { line, headers, body: Vec::new() })
    }

    /// Reads the next request, or returns `None` at the end of the connection. A request that two
    /// readers could read differently fails the test.
    pub(crate) async fn arrived(&mut self) -> Option<Arrived> {
        let mut request = self.arrived_head().await?;
        assert_eq!(request.all("host").len(), 1, "{request:?}");
        request.body = match (&*request.all("content-length"), &*request.all("transfer-encoding")) {
            ([], []) => Vec::new(),
            ([length], []) => self.exactly(length.parse().unwrap()).await,
            ([], ["chunked"]) => self.chunks().await,
            _ => panic!("a body without one length: {request:?}"),
        };
        Some(request)
    }

    async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.fill().await, "the body ends early");
        }
        self.read.split_to(length).to_vec()
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            while !self.read.windows(2).any(|end| end == b"\r\n") {
                assert!(self.fill().await, "the body ends early");
            }
            let end = self.read.windows(2).position(|end| end == b"\r\n").unwrap();
            let line = self.read.split_to(end + 2);
            let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16);
            let size = size.unwrap();
            let chunk = self.exactly(size + 2).await;
            assert!(chunk.ends_with(b"\r\n"), "{chunk:?}");
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return body;
            }
        }
    }

    /// Reads at least this many bytes of a body, whatever their encoding, and throws them away.
    pub(crate) async fn skip(&mut self, bytes: usize) {
        let mut skipped = self.read.len();
        self.read.clear();
        while skipped < bytes {
            assert!(self.fill().await, "the body ends early");
            skipped += self.read.len();
            self.read.clear();
        }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Writes bytes, also if the gateway does not take all of them.
    pub(crate) async fn try_write(&mut self, bytes: &str) {
        let _ = self.stream.write_all(bytes.as_bytes()).await;
    }

    /// Answers with success and an empty body.
    pub(crate) async fn accept_export(&mut self) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        self.write(format!("{head}{{}}")).await;
    }

    /// Waits until the gateway closes the connection, and returns what else it has written.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        while self.fill().await {}
        self.read.to_vec()
    }

    /// Ends the connection with a reset instead of an end.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl Arrived {
    /// Returns all values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

impl GrpcConnection {
    /// Waits for the next call, or returns `None` at the end of the connection.
    pub(crate) async fn call(&mut self) -> Option<Call> {
        timeout(PATIENCE, self.calls.recv()).await.expect("a call, or the end of the connection")
    }

    /// Announces that the connection takes no more calls, and ends it after the calls in flight.
    pub(crate) fn go_away(&self) {
        self.go_away.notify_one();
    }
}

impl Drop for GrpcConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Call {
    /// Reads the rest of the message stream. Fails if the gateway resets the call.
    pub(crate) async fn body(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut body = Vec::new();
        while let Some(data) = self.data().await? {
            body.extend_from_slice(&data);
        }
        Ok(body)
    }

    /// Reads the next data, or `None` at their end.
    pub(crate) async fn data(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let stream = self.request.body_mut();
        let data = timeout(PATIENCE, stream.data()).await.expect("data, or an end");
        let Some(data) = data.transpose()? else { return Ok(None) };
        stream.flow_control().release_capacity(data.len())?;
        Ok(Some(data))
    }

    /// Begins a response, and returns the stream on which it goes on.
    pub(crate) fn begin(&mut self) -> SendStream<Bytes> {
        let response = Response::builder().header("content-type", "application/grpc");
        self.respond.send_response(response.body(()).unwrap(), false).unwrap()
    }

    /// Answers with this status, behind an empty message.
    pub(crate) fn finish(mut self, status: &'static str) {
        let mut stream = self.begin();
        stream.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
        stream.send_trailers(trailers(status)).unwrap();
    }

    /// Resets the call with this error.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// Returns the trailers of a gRPC response.
pub(crate) fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))])
}

/// Runs a connection, and hands over its calls.
async fn drive(
    mut connection: H2Connection<TcpStream, Bytes>,
    arrived: mpsc::UnboundedSender<Call>,
    go_away: Arc<Notify>,
) {
    loop {
        tokio::select! {
            call = connection.accept() => {
                let Some(Ok((request, respond))) = call else { return };
                let _ = arrived.send(Call { request, respond });
            }
            () = go_away.notified() => connection.graceful_shutdown(),
        }
    }
}
