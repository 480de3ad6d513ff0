//! A tonic `Channel` with the layer inside.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::thread;

use http::header::{Entry, USER_AGENT};
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
use super::add_credential::AddCredential;

/// Room in each direction of the pipe, and for what one stream of it may have under way: a batch
/// passes without waiting for the other end.
const PIPE_BYTES: u32 = 1 << 20;

/// Headers are limited at the real channel, not in the pipe.
const PIPE_HEADER_BYTES: u32 = 16 << 20;

impl BearerTokenAuth<Endpoint> {
    /// A [`Channel`] to the endpoint that puts the credential on every request and, like the
    /// [`layer`](Self::layer), sends a refused one again with a token that was read after the
    /// refusal.
    ///
    /// The OTLP/gRPC exporters of opentelemetry-rust take a concrete `Channel` and a synchronous
    /// interceptor and nothing else. This channel is a pipe inside the process: its connector leads
    /// to an HTTP/2 server on a thread of its own, and that to the real channel through the layer.
    /// A request costs the second passage through HTTP/2; where a rotation cannot refuse a token
    /// that is still in use, or the token is fixed, the [`interceptor`](Self::interceptor) does the
    /// same for less.
    ///
    /// The thread ends when the last clone of the channel is dropped and the answers under way have
    /// been received. Connections are made when they are needed.
    ///
    /// # Errors
    ///
    /// When the thread or its runtime cannot be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::client::BearerTokenAuth;
    /// use tonic::transport::Endpoint;
    ///
    /// let auth = BearerTokenAuth::builder().token("iapikeyok-of-team-a").build()?;
    /// let channel = auth.for_endpoint(&Endpoint::from_static("http://127.0.0.1:4317"))?.channel()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel(&self) -> io::Result<Channel> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (alive, dropped) = oneshot::channel::<Infallible>();
        let entered = runtime.enter();
        let connector = Connector {
            service: self.layer().layer(self.endpoint.connect_lazy()),
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
            // Nobody sends: this ends when the connector, which the channel owns, and its
            // connections are gone.
            let _ = runtime.block_on(dropped);
        })?;
        Ok(pipe)
    }
}

/// Connects the pipe: each connection has a server of its own, on the channel's runtime.
#[derive(Clone)]
struct Connector {
    service: AddCredential<Channel>,
    runtime: runtime::Handle,
    /// Dropped with the last clone of this and the last connection: an answer may outlive the
    /// channel.
    alive: Arc<oneshot::Sender<Infallible>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(PIPE_BYTES as usize);
        let client = self.service.clone();
        let service = service_fn(move |request| {
            let client = client.clone();
            async move { Ok::<_, Infallible>(forward(client, request).await) }
        });
        let server = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(PIPE_BYTES)
            .initial_connection_window_size(4 * PIPE_BYTES)
            .max_concurrent_streams(None)
            .max_header_list_size(PIPE_HEADER_BYTES)
            .serve_connection(TokioIo::new(far), service);
        let alive = Arc::clone(&self.alive);
        self.runtime.spawn(async move {
            // The pipe ends when the channel is dropped; there is nobody left to tell.
            let _ = server.await;
            drop(alive);
        });
        std::future::ready(Ok(TokioIo::new(near)))
    }
}

/// Sends the request on. A failure becomes the status that a client of the real channel would have
/// seen: an unreachable server is `UNAVAILABLE`, and worth another try.
async fn forward(mut client: AddCredential<Channel>, request: Request<Incoming>) -> Response<Body> {
    let mut request = request.map(Body::new);
    unsign(request.headers_mut());
    let response = match poll_fn(|cx| client.poll_ready(cx)).await {
        Ok(()) => client.call(request).await,
        Err(error) => Err(error),
    };
    match response {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            // The cause does not fit through the pipe.
            let cause: &dyn Error = &*error;
            tracing::warn!(error = cause, "a request did not reach its endpoint");
            retryable(Status::from_error(error)).into_http()
        }
    }
}

/// Takes away what the pipe's own channel wrote at the end of the user agent: the real one will
/// write it again.
fn unsign(headers: &mut HeaderMap) {
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

/// A request whose connection broke is `UNKNOWN` to tonic, which exporters do not send again. To
/// gRPC it is `UNAVAILABLE` ("some data transmitted before connection breaks", doc/statuscodes.md),
/// which they do.
fn retryable(status: Status) -> Status {
    match status.code() {
        Code::Unknown => Status::unavailable(status.message()),
        _ => status,
    }
}
