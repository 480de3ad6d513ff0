//! The tower layer of the sending end.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::deadline::Deadline;
use super::endpoint::{EndpointError, UriPolicy};
use super::record::{self, Recording};
use super::token::{CurrentToken, Generation};
use crate::timeout::timeout;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The maximum time for which a response is held back until its first frame arrives.
const FIRST_FRAME_BOUND: Duration = Duration::from_secs(1);

/// Puts the current credential on every request, in place of any other credential; made by
/// [`BearerTokenAuth::layer`](super::BearerTokenAuth::layer).
///
/// If the token comes from a file and the server rejects a request, the layer reads the file again.
/// If the file then has another token, the request is sent once more. For this, the body is
/// recorded while it is sent, up to 4 MiB. A longer body is not sent again, nor is a body whose
/// type cannot be rebuilt. These types can be rebuilt: `tonic::body::Body`, and from
/// `http-body-util` the types `UnsyncBoxBody` and `BoxBody` (with boxed errors), `Full` and
/// `Empty`. With a fixed token, nothing is recorded.
///
/// A server rejects a credential with HTTP 401, or with `grpc-status: 16` in the headers or the
/// trailers. If the request was sent completely, the layer holds a gRPC response back until its
/// first frame arrives, for at most 1 s. So the layer can see the trailers. A deadline
/// (`grpc-timeout`) applies to both attempts together.
///
/// Over plaintext, a request with an absolute URI is sent only to a loopback address, unless
/// plaintext is [allowed](super::Builder::allow_plaintext).
///
/// # Examples
///
/// ```no_run
/// use otlp_auth::client::BearerTokenAuth;
/// use tower::ServiceBuilder;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "tonic")] {
/// let endpoint = tonic::transport::Endpoint::from_static("http://127.0.0.1:4317");
/// let auth = BearerTokenAuth::builder().file("/run/secrets/token").endpoint(&endpoint).build()?;
/// let channel = ServiceBuilder::new().layer(auth.layer()).service(endpoint.connect().await?);
/// // TraceServiceClient::new(channel)
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AddCredentialLayer {
    token: Arc<CurrentToken>,
    policy: UriPolicy,
}

impl AddCredentialLayer {
    pub(super) fn new(token: Arc<CurrentToken>, policy: UriPolicy) -> Self {
        Self { token, policy }
    }
}

impl<S> Layer<S> for AddCredentialLayer {
    type Service = AddCredential<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AddCredential { inner, layer: self.clone() }
    }
}

/// A client that puts a credential on its requests; made by [`AddCredentialLayer`].
#[derive(Clone, Debug)]
pub struct AddCredential<S> {
    inner: S,
    layer: AddCredentialLayer,
}

impl<S, B, RB> Service<Request<B>> for AddCredential<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Send,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Err(error) = self.layer.policy.check(request.uri()) {
            return ResponseFuture { state: State::Refused { error: Some(error) } };
        }
        let sent = self.layer.token.insert_into(request.headers_mut());
        if !self.layer.token.can_change() {
            return ResponseFuture { state: State::Once { response: self.inner.call(request) } };
        }
        let (parts, body) = request.into_parts();
        let (body, recording) = record::record(body);
        let Some(recording) = recording else {
            return ResponseFuture {
                state: State::Once { response: self.inner.call(Request::from_parts(parts, body)) },
            };
        };
        let mut again = Request::new(());
        *again.method_mut() = parts.method.clone();
        *again.uri_mut() = parts.uri.clone();
        *again.version_mut() = parts.version;
        *again.headers_mut() = parts.headers.clone();
        *again.extensions_mut() = parts.extensions.clone();
        let response = self.inner.call(Request::from_parts(parts, body));
        let deadline = Deadline::of(again.headers());
        let resend = Resend {
            service: self.inner.clone(),
            token: Arc::clone(&self.layer.token),
            sent,
            again,
            recording,
            deadline,
        };
        ResponseFuture { state: State::Resending { response: Box::pin(resend.run(response)) } }
    }
}

/// A request in flight that may have to be sent again.
struct Resend<S, B> {
    service: S,
    token: Arc<CurrentToken>,
    sent: Generation,
    again: Request<()>,
    recording: Box<dyn Recording<B>>,
    deadline: Deadline,
}

impl<S, B, RB> Resend<S, B>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    B: 'static,
    RB: Body<Data = Bytes>,
{
    async fn run(mut self, response: S::Future) -> Result<Response<ResponseBody<RB>>, BoxError> {
        let response = response.await.map_err(Into::into)?;
        let (response, refused) = peek(response, || self.recording.is_complete()).await;
        if !refused || !self.token.changed_since(self.sent, self.deadline.left()).await {
            return Ok(response);
        }
        if self.deadline.left() == Some(Duration::ZERO) {
            return Ok(response);
        }
        let Some(body) = self.recording.replay() else { return Ok(response) };
        // The first response is dropped here, so that its HTTP/2 stream is closed before the second
        // stream is opened.
        let transport = if is_grpc(response.headers()) { "grpc" } else { "http" };
        drop(response);
        self.token.count_resend(transport);
        poll_fn(|cx| self.service.poll_ready(cx)).await.map_err(Into::into)?;
        let mut request = self.again.map(|()| body);
        self.token.insert_into(request.headers_mut());
        self.deadline.shorten(request.headers_mut());
        let response = self.service.call(request).await.map_err(Into::into)?;
        Ok(response.map(ResponseBody::untouched))
    }
}

/// Returns the response, and whether it rejects the credential. A gRPC response without a status in
/// its headers may have a status in its trailers. If the request is complete, this function waits
/// up to [`FIRST_FRAME_BOUND`] for the first frame of the response. Otherwise it reads the first
/// frame only if the frame has already arrived, because a client that still sends may be waiting
/// for the headers of the response.
async fn peek<RB: Body<Data = Bytes>>(
    response: Response<RB>,
    request_complete: impl Fn() -> bool,
) -> (Response<ResponseBody<RB>>, bool) {
    let headers = response.headers();
    if response.status() == StatusCode::UNAUTHORIZED || has_unauthenticated(headers) {
        return (response.map(ResponseBody::untouched), true);
    }
    if !is_grpc(headers) || headers.contains_key("grpc-status") || response.body().is_end_stream() {
        return (response.map(ResponseBody::untouched), false);
    }
    let (parts, body) = response.into_parts();
    let mut body = Box::pin(body);
    let first = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if request_complete() => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    });
    let first = timeout(FIRST_FRAME_BOUND, first).await.flatten();
    let refused = matches!(&first, Some(Some(Ok(frame))) if frame.trailers_ref().is_some_and(has_unauthenticated));
    (
        Response::from_parts(
            parts,
            ResponseBody { body: Peeked::Buffered { body: Box::new((first, body)) } },
        ),
        refused,
    )
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Whether the gRPC status is 16, `UNAUTHENTICATED`.
fn has_unauthenticated(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").map(HeaderValue::as_bytes) == Some(b"16")
}

pin_project! {
    /// Resolves to the response to a request with a credential.
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F, R> {
        /// The request was sent, and will not be sent again.
        Once { #[pin] response: F },
        /// The request was sent, and is sent again if the server rejects it.
        Resending { response: BoxFuture<Result<R, BoxError>> },
        /// The request is not sent, because its URI is not allowed.
        Refused { error: Option<EndpointError> },
    }
}

impl<F, E, RB> Future for ResponseFuture<F, Response<ResponseBody<RB>>>
where
    F: Future<Output = Result<Response<RB>, E>>,
    E: Into<BoxError>,
    RB: Body,
{
    type Output = Result<Response<ResponseBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Once { response } => response.poll(cx).map(|result| {
                result.map(|response| response.map(ResponseBody::untouched)).map_err(Into::into)
            }),
            StateProject::Resending { response } => response.as_mut().poll(cx),
            StateProject::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error.into())),
                None => unreachable!("a future is not polled after it has ended"),
            },
        }
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response, whose first frame may have been read ahead.
    pub struct ResponseBody<B: Body> {
        #[pin]
        body: Peeked<B>,
    }
}

type Polled<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

pin_project! {
    #[project = PeekedProject]
    enum Peeked<B: Body> {
        Untouched { #[pin] body: B },
        // In a box, so that the many bodies that are not read ahead stay small.
        Buffered { body: Box<(Option<Polled<B>>, Pin<Box<B>>)> },
    }
}

impl<B: Body> ResponseBody<B> {
    fn untouched(body: B) -> Self {
        Self { body: Peeked::Untouched { body } }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.project() {
            PeekedProject::Untouched { body } => body.poll_frame(cx),
            PeekedProject::Buffered { body } => match body.0.take() {
                Some(frame) => Poll::Ready(frame),
                None => body.1.as_mut().poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Peeked::Untouched { body } => body.is_end_stream(),
            Peeked::Buffered { body } => body.0.is_none() && body.1.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Peeked::Untouched { body } => body.size_hint(),
            // The inner body's hint does not include the buffered frame.
            Peeked::Buffered { .. } => SizeHint::default(),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
