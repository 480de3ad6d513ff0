//! Measures how long it takes to put one header on a request, and how long a server's layer takes
//! to check it.
//! `cargo xtask bench client` runs this program and takes medians.
//!
//! The peer `constant_header` puts the same header on the request without an authenticator.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

mod measure;

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use otlp_auth::Credential;
use otlp_auth::client::{BearerTokenAuth, UnboundBearerTokenAuth};
use otlp_auth::server::{AuthenticateLayer, FixedTokens};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::service::Interceptor;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Status, async_trait as tonic_async_trait};
use tower::{Layer, Service};

use measure::{timed, timed_with};

const ENDPOINT: &str = "https://otlp.example.com";
const TOKEN: &str = "iapikeyok-00000000-Zq3LrT8w-mK2vB6xY-000000";

fn main() {
    let fixed = BearerTokenAuth::builder().token(TOKEN).endpoint(ENDPOINT).build().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, TOKEN).unwrap();
    let file = BearerTokenAuth::builder().file(file.path()).build_unbound().unwrap();
    let value = Credential::new("StackState", TOKEN).unwrap().to_header_value();
    let constant = ConstantHeader { value: value.clone(), inner: NoOp };

    let (mut ours, mut peer) = (fixed.layer().layer(NoOp), constant.clone());
    compare(
        "layer",
        || now(ours.call(export())).unwrap(),
        || now(Service::call(&mut peer, export())).unwrap(),
    );
    // If the token can change, the layer records the body while it is read, and reads the start of
    // the response before it passes the response on.
    let file_layer = file.for_endpoint(ENDPOINT).unwrap().layer();
    let (mut ours, mut peer) = (file_layer.layer(Reads), ConstantHeader { value, inner: Reads });
    let call = || export().map(tonic::body::Body::new);
    compare(
        "layer_file",
        || now(ours.call(call())).unwrap(),
        || now(Service::call(&mut peer, call())).unwrap(),
    );
    let (mut ours, mut peer) = (fixed.interceptor(), constant.clone());
    compare(
        "interceptor",
        || Interceptor::call(&mut ours, tonic::Request::new(())),
        || Interceptor::call(&mut peer, tonic::Request::new(())),
    );
    let ours = fixed.http_client(NoOp);
    compare(
        "http_client",
        || now(ours.send_bytes(post())).unwrap(),
        || now(constant.send_bytes(post())).unwrap(),
    );
    channel(&file, &constant);
    server_layer();
}

/// Reports the times of a case and of its peer. The peer's allocations are subtracted from those of
/// the case.
fn compare<T, U>(case: &str, mut ours: impl FnMut() -> T, mut peer: impl FnMut() -> U) {
    let allocations = measure::allocations(&mut peer);
    let added = measure::allocations(&mut ours) - allocations;
    let [ours, peer] = measure::nanoseconds([&mut timed(ours), &mut timed(peer)]);
    measure::report(case, Some("constant_header"), peer, allocations);
    measure::report(case, None, ours, added);
}

/// Compares a call through the channel's in-process pipe with a call through an interceptor, to the
/// same server on loopback. Both calls wait for other threads, so their times are measured by the
/// wall clock.
fn channel(auth: &UnboundBearerTokenAuth, constant: &ConstantHeader) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint =
        Endpoint::try_from(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    runtime.spawn(
        Server::builder()
            .add_service(TraceServiceServer::new(NoOp))
            .serve_with_incoming(TcpIncoming::from(listener)),
    );

    let entered = runtime.enter();
    let pipe = auth.for_endpoint(&endpoint).unwrap().channel().unwrap();
    let mut ours = TraceServiceClient::new(pipe);
    let mut peer = TraceServiceClient::with_interceptor(endpoint.connect_lazy(), constant.clone());
    drop(entered);
    let start = Instant::now();
    let wall_clock = || start.elapsed();
    let ours = || runtime.block_on(ours.export(ExportTraceServiceRequest::default())).unwrap();
    let peer = || runtime.block_on(peer.export(ExportTraceServiceRequest::default())).unwrap();
    let [ours, peer] = measure::nanoseconds([
        &mut timed_with(ours, wall_clock),
        &mut timed_with(peer, wall_clock),
    ]);
    measure::report("channel", Some("constant_header"), peer / 1e3, None);
    measure::report("channel", None, ours / 1e3, None);
}

/// Measures the time that the layer adds to an allowed request. The service behind the layer does
/// nothing. The peer `passthrough` makes such a request, passes it to the service without the
/// layer, and drops it.
fn server_layer() {
    let tokens = FixedTokens::new([("sender", TOKEN)]).unwrap();
    let mut layered = AuthenticateLayer::new(tokens).layer(NoOp);
    let mut with = || now(layered.call(received())).unwrap();
    let mut without = || now(NoOp.call(received())).unwrap();
    assert!(with().status().is_success());
    let allocations = measure::allocations(&mut with) - measure::allocations(&mut without);
    let [with, without] = measure::nanoseconds([&mut timed(with), &mut timed(without)]);
    measure::report("server_layer", Some("passthrough"), without, None);
    measure::report("server_layer", None, with - without, Some(allocations));
}

/// Makes a request like that of an exporter.
fn export() -> Request<Full<Bytes>> {
    post().map(Full::new)
}

fn post() -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"telemetry"));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("https://otlp.example.com/v1/traces");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    request
}

/// Makes a request like that which hyper passes to a service.
fn received() -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/v1/traces");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("otlp.example.com:4318"));
    headers.insert(USER_AGENT, HeaderValue::from_static("OTel-OTLP-Exporter-Rust/0.33.1"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_static("StackState iapikeyok-00000000-Zq3LrT8w-mK2vB6xY-000000"),
    );
    request
}

/// Returns the output of a future that is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// A client that is also a service, and does nothing.
#[derive(Clone, Debug)]
struct NoOp;

impl<B> Service<Request<B>> for NoOp {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Empty::new())))
    }
}

#[async_trait]
impl HttpClient for NoOp {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(Response::new(request.into_body()))
    }
}

#[tonic_async_trait]
impl TraceService for NoOp {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A service that reads the body to its end, and responds like a gRPC server.
#[derive(Clone, Debug)]
struct Reads;

impl<B: Body + Unpin> Service<Request<B>> for Reads {
    type Response = Response<Trailers>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        while now(poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx))).is_some() {}
        let mut response = Response::new(Trailers(false));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        ready(Ok(response))
    }
}

/// The body of a gRPC response that has only trailers. The flag is true if the trailers have been
/// read.
#[derive(Debug)]
struct Trailers(bool);

impl Body for Trailers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let read = std::mem::replace(&mut self.0, true);
        let trailers = || {
            HeaderMap::from_iter([(
                HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )])
        };
        Poll::Ready((!read).then(|| Ok(Frame::trailers(trailers()))))
    }
}

/// A client that does the minimum: it clones a header value that was made before, and inserts it.
#[derive(Clone, Debug)]
struct ConstantHeader<S = NoOp> {
    value: HeaderValue,
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for ConstantHeader<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.headers_mut().insert(AUTHORIZATION, self.value.clone());
        self.inner.call(request)
    }
}

impl Interceptor for ConstantHeader {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        request.metadata_mut().as_mut().insert(AUTHORIZATION, self.value.clone());
        Ok(request)
    }
}

#[async_trait]
impl HttpClient for ConstantHeader {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().insert(AUTHORIZATION, self.value.clone());
        self.inner.send_bytes(request).await
    }
}
