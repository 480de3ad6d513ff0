//! A tonic `Channel` that passes each request through the layer.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, Entry, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio::runtime;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::BearerTokenAuth;
use super::endpoint::Target;

type BoxError = Box<dyn Error + Send + Sync>;

/// The capacity of the pipe in each direction, in bytes, and the window of each HTTP/2 stream. It
/// is large, so that a batch passes without waiting for the other end.
const PIPE_BYTES: u32 = 1 << 20;

/// The limit for headers in the pipe, in bytes. The limit of the real channel is lower, so all
/// headers that the real channel accepts pass through the pipe.
const PIPE_HEADER_BYTES: u32 = 16 << 20;

impl BearerTokenAuth {
    /// Returns a [`Channel`] to the endpoint that puts the credential on every request. Like the
    /// [`layer`](Self::layer), the channel sends a rejected request again if the file then has
    /// another token.
    ///
    /// The OTLP/gRPC exporters of opentelemetry-rust accept only a concrete `Channel` and a
    /// synchronous interceptor. This channel is a pipe inside the process: its connector leads to
    /// an HTTP/2 server on a separate thread. The server forwards each request through the layer to
    /// the real channel. So a request passes through HTTP/2 twice. If the token is fixed, or if the
    /// server accepts the old token until the client has the new one, use the
    /// [`interceptor`](Self::interceptor), which costs less.
    ///
    /// The thread ends when the last clone of the channel is dropped and all responses have been
    /// received. Connections are made when they are needed.
    ///
    /// If the authenticator was bound to a URL, tonic's defaults are used: no timeouts, and for
    /// `https` the root certificates that are compiled into tonic. To set timeouts or certificates,
    /// bind the authenticator to a [`tonic::transport::Endpoint`].
    ///
    /// # Errors
    ///
    /// Fails when the thread or its runtime cannot be started, or when TLS cannot be set up for a
    /// URL.
    ///
    /// # Panics
    ///
    /// Panics for an `https` URL if rustls has no crypto provider for the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::client::BearerTokenAuth;
    /// use tonic::transport::Endpoint;
    ///
    /// let endpoint = Endpoint::from_static("http://127.0.0.1:4317");
    /// let auth = BearerTokenAuth::builder().token("iapikeyok-of-team-a").endpoint(endpoint).build()?;
    /// let channel = auth.channel()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel(&self) -> io::Result<Channel> {
        let endpoint = match self.endpoint.target() {
            Target::Uri(uri) => Endpoint::new(uri.clone()).map_err(io::Error::other)?,
            Target::Tonic(endpoint) => Endpoint::clone(endpoint),
        };
        channel_to(|| self.layer().layer(endpoint.connect_lazy()))
    }
}

/// Returns a [`Channel`] whose requests go to a tower service in this process, for example to the
/// [`layer`](BearerTokenAuth::layer) under layers of your own. [`BearerTokenAuth::channel`]
/// describes how it works and what it costs.
///
/// `make_service` is called once, in the runtime of the channel, so that it may make a lazily
/// connected channel. An error of the service becomes a status, and `UNKNOWN` becomes
/// `UNAVAILABLE`, which exporters retry.
///
/// # Errors
///
/// Fails when the thread or its runtime cannot be started.
///
/// # Examples
///
/// ```
/// use otlp_auth::client::{BearerTokenAuth, channel_to};
/// use tonic::transport::Endpoint;
/// use tower::ServiceBuilder;
///
/// let endpoint = Endpoint::from_static("http://127.0.0.1:4317");
/// let auth = BearerTokenAuth::builder().token("iapikeyok-of-team-a").endpoint(&endpoint).build()?;
/// let channel = channel_to(|| {
///     ServiceBuilder::new()
///         .concurrency_limit(4)
///         .layer(auth.layer())
///         .service(endpoint.connect_lazy())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn channel_to<S, B>(make_service: impl FnOnce() -> S) -> io::Result<Channel>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (alive, dropped) = oneshot::channel::<Infallible>();
    let entered = runtime.enter();
    let connector = Connector {
        service: make_service(),
        runtime: runtime.handle().clone(),
        alive: Arc::new(alive),
    };
    let pipe = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(PIPE_BYTES)
        .initial_connection_window_size(4 * PIPE_BYTES)
        .http2_max_header_list_size(PIPE_HEADER_BYTES)
        .connect_with_connector_lazy(connector);
    drop(entered);
    thread::Builder::new().name("otlp-auth-channel".to_owned()).spawn(move || {
        // No message is ever sent to `dropped`. The wait ends when the connector, which the
        // channel owns, and all its connections are dropped.
        let _ = runtime.block_on(dropped);
    })?;
    Ok(pipe)
}

/// Connects the pipe. Each connection has its own HTTP/2 server, on the channel's runtime.
#[derive(Clone)]
struct Connector<S> {
    service: S,
    runtime: runtime::Handle,
    /// Keeps the thread alive until the last connector and the last connection are dropped. A
    /// connection counts too, because a response may outlive the channel.
    alive: Arc<oneshot::Sender<Infallible>>,
}

impl<S, B> Service<Uri> for Connector<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(PIPE_BYTES as usize);
        let service = self.service.clone();
        let service = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(forward(service, request).await) }
        });
        let server = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(PIPE_BYTES)
            .initial_connection_window_size(4 * PIPE_BYTES)
            .max_concurrent_streams(None)
            .max_header_list_size(PIPE_HEADER_BYTES)
            .serve_connection(TokioIo::new(far), service);
        let alive = Arc::clone(&self.alive);
        self.runtime.spawn(async move {
            // The pipe ends when the channel is dropped, so nobody is left to see this error.
            let _ = server.await;
            drop(alive);
        });
        std::future::ready(Ok(TokioIo::new(near)))
    }
}

/// Forwards the request. A failure becomes the status that a client of the real channel would see:
/// an unreachable server is `UNAVAILABLE`, which exporters retry.
async fn forward<S, B>(mut service: S, request: Request<Incoming>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut request = request.map(Body::new);
    strip_user_agent_suffix(request.headers_mut());
    let ready = poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into);
    let response = match ready {
        Ok(()) => service.call(request).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    match response {
        Ok(response) => {
            warn_of_http(&response);
            response.map(Body::new)
        }
        Err(error) => {
            // Only the status passes through the pipe, so the cause is logged here.
            let cause: &dyn Error = &*error;
            tracing::warn!(error = cause, "a request did not reach its endpoint");
            retryable(Status::from_error(error)).into_http()
        }
    }
}

/// Warns if an HTTP server or a proxy answered instead of a gRPC server. tonic turns such an answer
/// into a status, which no longer shows the cause.
fn warn_of_http<B>(response: &Response<B>) {
    let content_type = response.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        tracing::warn!(
            status = response.status().as_u16(),
            "the answer to an OTLP/gRPC request is not gRPC's: use the port for OTLP/gRPC, usually 4317"
        );
    }
}

/// Removes the `tonic/VERSION` that the pipe's own channel appended to the user agent. The real
/// channel appends it again.
fn strip_user_agent_suffix(headers: &mut HeaderMap) {
    let Entry::Occupied(mut agent) = headers.entry(USER_AGENT) else { return };
    let theirs = agent
        .get()
        .to_str()
        .ok()
        .and_then(|agent| agent.rsplit_once("tonic/"))
        .map(|(theirs, _)| theirs.trim_end());
    match theirs.map(HeaderValue::from_str) {
        Some(Ok(theirs)) if !theirs.is_empty() => _ = agent.insert(theirs),
        Some(_) => _ = agent.remove(),
        None => {}
    }
}

/// Replaces the status `UNKNOWN` by `UNAVAILABLE`. If a connection breaks during a request, tonic
/// reports `UNKNOWN`, which exporters do not retry. gRPC's table of statuses (doc/statuscodes.md)
/// demands `UNAVAILABLE` for this case, which exporters retry.
fn retryable(status: Status) -> Status {
    match status.code() {
        Code::Unknown => Status::unavailable(status.message()),
        _ => status,
    }
}
