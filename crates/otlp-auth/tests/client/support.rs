//! A token file, a service that records what it receives, and a collector that records spans.

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use otlp_auth::GenerationReceiver;
use otlp_auth::client::{BearerTokenAuth, UnboundBearerTokenAuth};
use otlp_auth::server::{AuthenticateLayer, TokenFile};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tonic::codec::CompressionEncoding;
use tonic::service::Interceptor as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::util::MapResponseLayer;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

/// The endpoint of authenticators whose requests never leave the test.
pub(crate) const ENDPOINT: &str = "https://otlp.example.com";

/// Makes an authenticator with a token that does not change.
pub(crate) fn fixed() -> BearerTokenAuth {
    BearerTokenAuth::builder().token("token-0").endpoint(ENDPOINT).build().unwrap()
}

/// A temporary directory with a token file.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(Arc<TempDir>);

impl Tokens {
    pub(crate) fn new(content: impl AsRef<[u8]>) -> Self {
        let tokens = Self(Arc::new(tempfile::tempdir().unwrap()));
        fs::write(tokens.path(), content).unwrap();
        tokens
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("token")
    }

    /// Replaces the file by a rename, so that a reader never sees half of it.
    pub(crate) fn replace(&self, content: impl AsRef<[u8]>) {
        let next = self.0.path().join("next");
        fs::write(&next, content).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    /// Makes an authenticator that sends the first token of this file.
    pub(crate) fn auth(&self) -> BearerTokenAuth {
        BearerTokenAuth::builder().file(self.path()).endpoint(ENDPOINT).build().unwrap()
    }

    /// Makes an authenticator that sends the first token of this file and is not bound to an
    /// endpoint.
    pub(crate) fn unbound(&self) -> UnboundBearerTokenAuth {
        BearerTokenAuth::builder().file(self.path()).build_unbound().unwrap()
    }

    /// Opens this file as the tokens that a server accepts.
    pub(crate) fn accepted(&self) -> TokenFile {
        TokenFile::open(self.path()).unwrap()
    }
}

/// Makes an HTTP client that follows no redirects and uses no proxy. The client may need a crypto
/// provider, because other packages of the workspace may enable TLS in reqwest.
pub(crate) fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// Returns the credential that is now put on requests.
pub(crate) fn header(auth: &BearerTokenAuth) -> String {
    let request = auth.interceptor().call(tonic::Request::new(())).unwrap();
    request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned()
}

/// Waits until this credential is put on requests.
pub(crate) fn wait_for_header(auth: &BearerTokenAuth, expected: &str) {
    let mut generation = auth.generation();
    while header(auth) != expected {
        futures_executor::block_on(generation.changed()).unwrap();
    }
}

/// Waits until everything that was made from the authenticator of a file is dropped, and the thread
/// that follows the file has ended.
pub(crate) fn wait_for_end(mut generation: GenerationReceiver) {
    while futures_executor::block_on(generation.changed()).is_some() {}
}

/// Returns whether the file of this generation is still followed.
pub(crate) fn is_followed(generation: &GenerationReceiver) -> bool {
    let mut generation = generation.clone();
    let changed = pin!(generation.changed());
    !matches!(changed.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(None))
}

/// A body whose frames come from a channel.
pub(crate) struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

impl Fed {
    pub(crate) fn new() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>, Self) {
        let (frames, body) = mpsc::unbounded_channel();
        (frames, Self(body))
    }

    pub(crate) fn with(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let (sender, body) = Self::new();
        frames.into_iter().for_each(|frame| sender.send(Ok(frame)).unwrap());
        body
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

pub(crate) fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// A request as a service received it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) frames: Vec<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) failed: bool,
}

impl Got {
    pub(crate) fn credentials(&self) -> Vec<&str> {
        self.headers.get_all("authorization").iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.frames.concat()
    }
}

/// Reads a message completely, or until its body fails.
pub(crate) async fn receive<B: Body<Data = Bytes>>(headers: HeaderMap, body: B) -> Got {
    let mut body = std::pin::pin!(body);
    let mut got = Got { headers, ..Got::default() };
    loop {
        let said_end = body.is_end_stream();
        let Some(frame) = body.frame().await else { break };
        assert!(!said_end, "a body that has ended has no more frames");
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => got.frames.push(data),
            Ok(Err(frame)) => got.trailers = frame.into_trailers().ok(),
            Err(_) => got.failed = true,
        }
        if got.failed {
            break;
        }
    }
    got
}

/// A list of the requests that a service received, in order.
pub(crate) type Log = Arc<Mutex<Vec<Got>>>;

/// Makes a service that reads each request completely, records it, and then responds with `answer`.
pub(crate) fn service<B, F>(log: &Log, answer: F) -> impl Service<B> + use<B, F>
where
    B: Body<Data = Bytes> + Send + 'static,
    F: Fn(&Got) -> Response<BoxBody> + Clone + Send + 'static,
{
    let log = Arc::clone(log);
    tower::service_fn(move |request: Request<B>| {
        let (log, answer) = (Arc::clone(&log), answer.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let got = receive(parts.headers, body).await;
            let response = answer(&got);
            log.lock().unwrap().push(got);
            Ok::<_, Infallible>(response)
        }) as Pin<Box<dyn Future<Output = _> + Send>>
    })
}

/// The type that [`service`] returns.
pub(crate) trait Service<B>:
    tower::Service<
        Request<B>,
        Response = Response<BoxBody>,
        Error = Infallible,
        Future = Pin<Box<dyn Future<Output = Result<Response<BoxBody>, Infallible>> + Send>>,
    > + Clone
    + Send
    + 'static
{
}

impl<B, S> Service<B> for S where
    S: tower::Service<
            Request<B>,
            Response = Response<BoxBody>,
            Error = Infallible,
            Future = Pin<Box<dyn Future<Output = Result<Response<BoxBody>, Infallible>> + Send>>,
        > + Clone
        + Send
        + 'static
{
}

/// The ways in which a server rejects a token. With the last variant, the rejection follows data,
/// so it is too late to send the request again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    Http,
    TrailersOnly,
    Trailers,
    TrailersAfterData,
}

impl Refusal {
    pub(crate) fn response(self) -> Response<BoxBody> {
        let grpc = || Response::builder().header("content-type", "application/grpc");
        let status = || {
            Frame::trailers(trailers(&[
                ("grpc-status", "16"),
                ("grpc-message", "credential refused"),
            ]))
        };
        let empty = || Empty::new().map_err(|error| match error {});
        match self {
            Self::Http => {
                Response::builder().status(StatusCode::UNAUTHORIZED).body(BoxBody::new(empty()))
            }
            Self::TrailersOnly => grpc().header("grpc-status", "16").body(BoxBody::new(empty())),
            Self::Trailers => grpc().body(BoxBody::new(Fed::with([status()]))),
            Self::TrailersAfterData => {
                grpc().body(BoxBody::new(Fed::with([Frame::data("answer".into()), status()])))
            }
        }
        .unwrap()
    }
}

/// Makes a successful response of a gRPC server.
pub(crate) fn accepted() -> Response<BoxBody> {
    let body = Fed::with([
        Frame::data(Bytes::from_static(b"thanks")),
        Frame::trailers(trailers(&[("grpc-status", "0")])),
    ]);
    Response::builder().header("content-type", "application/grpc").body(BoxBody::new(body)).unwrap()
}

/// A real server of OTLP/gRPC traces behind the authentication of this library. It runs on its own
/// thread until it is dropped.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pub(crate) received: Received,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The requests that were accepted.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Received {
    /// Returns the names of all spans that were received, sorted.
    pub(crate) fn spans(&self) -> Vec<String> {
        let requests = self.0.lock().unwrap();
        let spans = requests
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|spans| &spans.scope_spans);
        let mut names: Vec<_> =
            spans.flat_map(|spans| &spans.spans).map(|span| span.name.clone()).collect();
        names.sort();
        names
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let user_agent = request.metadata().get("user-agent").cloned();
        if request.metadata().contains_key("x-fail") {
            let mut metadata = tonic::metadata::MetadataMap::new();
            metadata.insert("x-reason", "because".parse().unwrap());
            metadata
                .insert_bin("x-reason-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 255]));
            let details = Bytes::from_static(&[1, 2, 0, 255]);
            return Err(tonic::Status::with_details_and_metadata(
                tonic::Code::DataLoss,
                "lost: 100 % ü",
                details,
                metadata,
            ));
        }
        let echoed = request.metadata().get("x-echo").cloned();
        self.0.lock().unwrap().push(request.into_inner());
        let mut response = tonic::Response::new(ExportTraceServiceResponse::default());
        for (name, value) in [("x-echo", echoed), ("x-user-agent", user_agent)] {
            if let Some(value) = value {
                response.metadata_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

impl Collector {
    pub(crate) fn start(tokens: TokenFile) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), tokens, || ())
    }

    /// Starts a collector that calls `on_refusal` before it sends a rejection.
    pub(crate) fn start_at(
        address: SocketAddr,
        tokens: TokenFile,
        on_refusal: impl Fn() + Clone + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Received::default();
        let service = TraceServiceServer::new(received.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(16 << 20);
        let (stop, stopped) = oneshot::channel();
        let watched = MapResponseLayer::new(move |response: Response<_>| {
            if response.headers().get("grpc-status").is_some_and(|status| status == "16") {
                on_refusal();
            }
            response
        });
        let server = async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            let server = Server::builder()
                .layer(watched)
                .layer(AuthenticateLayer::new(tokens))
                .add_service(service);
            tokio::select! {
                ended = server.serve_with_incoming(incoming) => ended.unwrap(),
                _ = stopped => {}
            }
        };
        // All connections end when the runtime ends.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = thread::spawn(move || runtime.block_on(server));
        Self { address, received, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self) -> tonic::transport::Endpoint {
        format!("http://{}", self.address).parse().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(
            thread::panicking() || ended.is_some_and(|ended| ended.is_ok()),
            "the server did not panic"
        );
    }
}

/// Makes a batch of one span.
pub(crate) fn batch(name: impl Into<String>) -> ExportTraceServiceRequest {
    let span = Span { name: name.into(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

/// Makes a span in the form in which an exporter gets it from the SDK.
pub(crate) fn sdk_span(name: &'static str) -> Vec<SpanData> {
    let memory = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(memory.clone()).build();
    provider.tracer("test").in_span(name, |_| ());
    memory.get_finished_spans().unwrap()
}
