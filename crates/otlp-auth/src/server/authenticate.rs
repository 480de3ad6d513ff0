//! The middleware: asks an authenticator before an HTTP or gRPC service gets a request.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, EXPECT, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::authenticator::ServerAuthenticator;
use super::challenge::Challenges;
use super::credential_extractor::CredentialExtractor;
use super::rejection::Rejection;
use super::report::Reporter;
use super::responder::{OtlpResponder, Responder, ResponseFormat};
use super::response_body::ResponseBody;
use crate::decision::{Decision, Verdict};
use crate::denial::Denial;
use crate::timeout::timeout;

/// The maximum number of bytes that are read from the body of a rejected HTTP/1.1 request. Without
/// this read, a sender that is still writing gets a connection reset instead of the response. It
/// would take the refusal for a failure of the network, and send the request again for ever.
const DRAIN_BYTES: usize = 128 << 20;

/// The maximum time for which the body of a rejected request is read.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The maximum time that the next part of the body of a rejected request may take to arrive.
const DRAIN_SILENCE: Duration = Duration::from_secs(2);

/// Puts an authenticator in front of a service. The service can be a tonic `Server`, an axum
/// `Router`, a hyper service, or gRPC and HTTP on one port.
///
/// The layer decides from the headers and the URI, before the body is read. An allowed request
/// reaches the service with an [`Identity`](crate::Identity) in its extensions and without its
/// credential. To every other request, the layer itself responds:
///
/// | outcome | OTLP/HTTP | OTLP/gRPC |
/// |---|---|---|
/// | no credential | 401 | 16 `UNAUTHENTICATED` |
/// | credential malformed, conflicting, unknown, revoked or expired | 401, challenge with `error="invalid_token"` | 16 `UNAUTHENTICATED` |
/// | not permitted | 403 | 7 `PERMISSION_DENIED` |
/// | limit exceeded | 429 and `Retry-After` | 8 `RESOURCE_EXHAUSTED` and `RetryInfo` |
/// | undecided | 503 and `Retry-After` | 14 `UNAVAILABLE` and `RetryInfo` |
///
/// [`OtlpResponder`] writes these responses; [`with_responder`](Self::with_responder) sets another
/// responder. The response to a denied request has the [`Denial`] in its extensions, so that an
/// outer layer can log or count the denial.
///
/// # Examples
///
/// ```
/// use otlp_auth::Identity;
/// use otlp_auth::server::{AuthenticateLayer, FixedTokens};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let tokens = FixedTokens::new([("team-a", "iapikeyok-of-team-a")])?;
/// let layer = AuthenticateLayer::new(tokens).with_exempt_path("/grpc.health.v1.Health/Check");
/// let service = ServiceBuilder::new().layer(layer).service_fn(async |request: http::Request<_>| {
///     let sender = request.extensions().get::<Identity>().map(|sender| sender.name().to_owned());
///     Ok::<_, std::convert::Infallible>(http::Response::new(sender.unwrap_or_default()))
/// });
///
/// let request = http::Request::post("/v1/traces")
///     .header("authorization", "StackState iapikeyok-of-nobody")
///     .body(String::new())?;
/// let response = service.oneshot(request).await?;
/// assert_eq!(response.status(), http::StatusCode::UNAUTHORIZED);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AuthenticateLayer<A> {
    authenticator: Arc<A>,
    policy: Arc<Policy>,
}

/// The settings of the layer, without its authenticator.
#[derive(Clone)]
struct Policy {
    extractor: CredentialExtractor,
    challenges: Challenges,
    exempt_paths: Vec<String>,
    cors_preflight: bool,
    keep_credential: bool,
    responder: Arc<dyn Responder + Send + Sync>,
    reporter: Reporter,
}

impl<A> AuthenticateLayer<A> {
    /// Makes a layer that asks `authenticator`. The layer reads the credential from the header
    /// `Authorization` with the scheme `StackState`.
    pub fn new(authenticator: A) -> Self {
        let extractor = CredentialExtractor::default();
        let policy = Policy {
            challenges: Challenges::new(&extractor.challenge_schemes()),
            extractor,
            exempt_paths: Vec::new(),
            cors_preflight: false,
            keep_credential: false,
            responder: Arc::new(OtlpResponder),
            reporter: Reporter::default(),
        };
        Self { authenticator: Arc::new(authenticator), policy: Arc::new(policy) }
    }

    /// Reads the credential with `extractor` instead of the default extractor.
    #[must_use]
    pub fn with_extractor(self, extractor: CredentialExtractor) -> Self {
        self.refined(|policy| {
            policy.challenges = Challenges::new(&extractor.challenge_schemes());
            policy.extractor = extractor;
        })
    }

    /// Passes requests for exactly this path to the service without asking the authenticator. These
    /// requests need no credential and get no identity. This is for health checks and reflection.
    #[must_use]
    pub fn with_exempt_path(self, path: impl Into<String>) -> Self {
        self.refined(|policy| policy.exempt_paths.push(path.into()))
    }

    /// Passes CORS preflight requests to the service without asking the authenticator. These
    /// requests need no credential and get no identity, because browsers send them without
    /// credentials (Fetch standard, "CORS-preflight fetch"). The inner service must respond to
    /// them.
    #[must_use]
    pub fn with_exempt_cors_preflight(self) -> Self {
        self.refined(|policy| policy.cors_preflight = true)
    }

    /// Leaves the credential in the request, for an inner service that forwards the credential.
    #[must_use]
    pub fn with_kept_credential(self) -> Self {
        self.refined(|policy| policy.keep_credential = true)
    }

    /// Lets `responder` write the responses to requests that are not allowed, instead of
    /// [`OtlpResponder`].
    #[must_use]
    pub fn with_responder(self, responder: impl Responder + Send + Sync + 'static) -> Self {
        self.refined(|policy| policy.responder = Arc::new(responder))
    }

    /// Counts decisions with `meter`. The documentation of the crate lists the
    /// [instruments](crate#metrics).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_meter(self, meter: &opentelemetry::metrics::Meter) -> Self {
        self.refined(|policy| policy.reporter.count_with(meter))
    }

    /// Counts decisions by the route of the request as well, in the attribute `http.route`. `route`
    /// returns the index of a path among `names`, or `None` for a path that is none of these
    /// routes. The decision on such a path is counted without the attribute.
    ///
    /// The routes are a fixed set, because a sender can ask for any path.
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::server::{AuthenticateLayer, FixedTokens};
    ///
    /// # fn example(meter: opentelemetry::metrics::Meter) -> Result<(), Box<dyn std::error::Error>> {
    /// const ROUTES: [&str; 2] = ["/v1/traces", "/v1/metrics"];
    /// let layer = AuthenticateLayer::new(FixedTokens::new([("team-a", "iapikeyok-of-team-a")])?)
    ///     .with_meter(&meter)
    ///     .with_routes(ROUTES, |path| ROUTES.iter().position(|route| *route == path));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_routes(
        self,
        names: impl IntoIterator<Item = &'static str>,
        route: fn(&str) -> Option<usize>,
    ) -> Self {
        let routes = crate::metrics::Routes::new(names, route);
        self.refined(|policy| policy.reporter.count_by(routes))
    }

    fn refined(mut self, refine: impl FnOnce(&mut Policy)) -> Self {
        refine(Arc::make_mut(&mut self.policy));
        self
    }
}

impl<A> Clone for AuthenticateLayer<A> {
    fn clone(&self) -> Self {
        Self { authenticator: Arc::clone(&self.authenticator), policy: Arc::clone(&self.policy) }
    }
}

impl<A> fmt::Debug for AuthenticateLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateLayer")
            .field("extractor", &self.policy.extractor)
            .field("exempt_paths", &self.policy.exempt_paths)
            .finish_non_exhaustive()
    }
}

impl<S, A> Layer<S> for AuthenticateLayer<A> {
    type Service = Authenticate<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate { inner, layer: self.clone() }
    }
}

/// A service with an authenticator in front of it; made by [`AuthenticateLayer`].
pub struct Authenticate<S, A> {
    inner: S,
    layer: AuthenticateLayer<A>,
}

impl<S, A> Authenticate<S, A> {
    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service, so that it can be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service and drops the layer.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, A> Clone for Authenticate<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, A> fmt::Debug for Authenticate<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticate").field("layer", &self.layer).finish_non_exhaustive()
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, A> tonic::server::NamedService for Authenticate<S, A> {
    const NAME: &'static str = S::NAME;
}

impl<S, A, B, RB> Service<Request<B>> for Authenticate<S, A>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    A: ServerAuthenticator,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<A, S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let policy = &self.layer.policy;
        let (mut parts, body) = request.into_parts();
        if policy.passes_unasked(&parts) {
            policy.strip(&mut parts);
            return ResponseFuture {
                state: State::Inner { response: self.inner.call(Request::from_parts(parts, body)) },
            };
        }
        let started = policy.reporter.started();
        let transport = ResponseFormat::of(&parts).transport();
        let verdict = match policy.extractor.extract(&parts.headers, &parts.uri) {
            Ok(credential) => match self.layer.authenticator.verdict_at_once(&credential) {
                Ok(verdict) => verdict,
                Err(verdict) => {
                    // The service that is ready is kept for this request. A clone of the service
                    // stays in `self`, and must become ready before it is called.
                    let clone = self.inner.clone();
                    let service = std::mem::replace(&mut self.inner, clone);
                    let policy = Arc::clone(policy);
                    let pending = Pending { parts, body, service, transport, policy, started };
                    let deciding = Box::pin(Deciding { verdict, pending: Some(pending) });
                    return ResponseFuture { state: State::Deciding { deciding } };
                }
            },
            Err(reason) => Ok(Decision::Deny(Denial::new(reason))),
        };
        policy.reporter.report(&verdict, transport, parts.uri.path(), started);
        ResponseFuture { state: policy.obey(verdict, parts, body, &mut self.inner) }
    }
}

impl Policy {
    fn passes_unasked(&self, parts: &Parts) -> bool {
        let preflight = || {
            parts.method == Method::OPTIONS
                && parts.headers.contains_key(ORIGIN)
                && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        };
        (self.cors_preflight && preflight())
            || self.exempt_paths.iter().any(|path| path == parts.uri.path())
    }

    fn strip(&self, parts: &mut Parts) {
        if !self.keep_credential {
            self.extractor.strip(&mut parts.headers, &mut parts.uri);
        }
    }

    /// Calls the service if the verdict allows the request; otherwise rejects the request.
    fn obey<A, S, B>(
        &self,
        verdict: Verdict,
        mut parts: Parts,
        body: B,
        service: &mut S,
    ) -> State<A, S, B>
    where
        A: ServerAuthenticator,
        S: Service<Request<B>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Send,
    {
        let denial = match verdict {
            Ok(Decision::Allow(identity)) => {
                parts.extensions.insert(identity);
                self.strip(&mut parts);
                return State::Inner { response: service.call(Request::from_parts(parts, body)) };
            }
            Ok(Decision::Deny(denial)) => Some(denial),
            Err(_) => None,
        };
        let response = self.reject(denial, &parts);
        drain(&parts, body);
        State::Rejected { response: Some(response) }
    }

    /// Makes the response to a request that is not allowed. Without a `denial`, the authenticator
    /// had no verdict.
    fn reject(&self, denial: Option<Denial>, request: &Parts) -> Response<Bytes> {
        let rejection = match denial {
            Some(denial) => Rejection::with_challenges(denial, &self.challenges),
            None => Rejection::undecided(),
        };
        let mut response = self.responder.respond(&rejection, request);
        if let Some(denial) = rejection.into_denial() {
            response.extensions_mut().insert(denial);
        }
        response
    }
}

pin_project! {
    /// Resolves to the response of the inner service, or to the rejection if the request is not
    /// allowed.
    pub struct ResponseFuture<A: ServerAuthenticator, S: Service<Request<B>>, B> {
        #[pin]
        state: State<A, S, B>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<A: ServerAuthenticator, S: Service<Request<B>>, B> {
        // Boxed, so that a request whose verdict is known at once is not moved with room for this.
        Deciding { deciding: Pin<Box<Deciding<A::Future, S, B>>> },
        Inner { #[pin] response: S::Future },
        Rejected { response: Option<Response<Bytes>> },
    }
}

pin_project! {
    /// A request that waits for its verdict.
    struct Deciding<F, S, B> {
        #[pin]
        verdict: F,
        pending: Option<Pending<S, B>>,
    }
}

/// What a request needs once its verdict is there.
struct Pending<S, B> {
    parts: Parts,
    body: B,
    service: S,
    transport: &'static str,
    policy: Arc<Policy>,
    started: Option<Instant>,
}

impl<A, S, B, RB> Future for ResponseFuture<A, S, B>
where
    A: ServerAuthenticator,
    S: Service<Request<B>, Response = Response<RB>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Output = Result<Response<ResponseBody<RB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProject::Deciding { deciding } => {
                    let deciding = deciding.as_mut().project();
                    let verdict = ready!(deciding.verdict.poll(cx));
                    let Some(pending) = deciding.pending.take() else {
                        unreachable!("a future is not polled after it has ended")
                    };
                    let Pending { parts, body, mut service, transport, policy, started } = pending;
                    policy.reporter.report(&verdict, transport, parts.uri.path(), started);
                    state.set(policy.obey(verdict, parts, body, &mut service));
                }
                StateProject::Inner { response } => {
                    return response.poll(cx).map_ok(|response| response.map(ResponseBody::inner));
                }
                StateProject::Rejected { response } => {
                    let Some(response) = response.take() else {
                        unreachable!("a future is not polled after it has ended")
                    };
                    return Poll::Ready(Ok(response.map(ResponseBody::rejection)));
                }
            }
        }
    }
}

/// Reads the rest of the body of a rejected HTTP/1.1 request, up to [`DRAIN_BYTES`], [`DRAIN_TIME`]
/// and [`DRAIN_SILENCE`]. Later versions of HTTP need no such read, because a server can reject a
/// stream without closing the connection. If the sender expects `100 Continue`, nothing is read
/// either, because the sender has not begun to write.
fn drain<B>(parts: &Parts, body: B)
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    if parts.version > Version::HTTP_11
        || parts.headers.contains_key(EXPECT)
        || body.is_end_stream()
    {
        return;
    }
    // Without a Tokio runtime, the response is sent and the body is not read.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(timeout(DRAIN_TIME, async move {
            let mut body = std::pin::pin!(body);
            let mut left = DRAIN_BYTES;
            let mut next = async || {
                let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
                timeout(DRAIN_SILENCE, frame).await.flatten()?.ok()
            };
            while let Some(frame) = next().await {
                let read = frame.data_ref().map_or(0, Buf::remaining);
                match left.checked_sub(read) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        }));
    }
}

impl<A: ServerAuthenticator, S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<A, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
