//! Records which requests are rejected. The log and the metrics contain the ids of denied keys, the
//! responses do not.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Method, Request, Response};
use ingestion_keys::cache::KeyHandle;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Meter};
use otlp_auth::server::ResponseBody;
use otlp_auth::{Denial, DenyReason};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::is_grpc;
use super::log_throttle::{Caller, LastAsked, LogThrottle};
use crate::telemetry::requests::{End, RequestMetrics, grpc_status};
use crate::telemetry::route::Route;

/// Measures the requests that an [`AuthenticateLayer`](otlp_auth::server::AuthenticateLayer) behind
/// this layer rejects. Counts the requests with a key that the gateway knows and denies, and logs
/// them at a limited rate.
#[derive(Clone, Debug)]
pub(crate) struct DenialLogLayer {
    recorder: Arc<Recorder>,
}

/// A service whose rejected requests are recorded; made by [`DenialLogLayer`].
#[derive(Clone, Debug)]
pub(crate) struct DenialLog<S> {
    inner: S,
    recorder: Arc<Recorder>,
}

pin_project! {
    /// Resolves to the response of the inner service.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        response: F,
        recorder: Arc<Recorder>,
        route: Route,
        method: Method,
        is_grpc: bool,
        began: Instant,
    }
}

/// Counts and logs the requests with known keys that are denied.
#[derive(Clone, Debug)]
pub(crate) struct Denials {
    throttle: Arc<LogThrottle>,
    refusals: Counter<u64>,
}

/// What is kept with a key, so that its further denials look nothing up.
#[derive(Default)]
struct KeyDenials {
    revoked: KeyDenial,
    expired: KeyDenial,
}

/// The denials of one key for one reason.
#[derive(Default)]
struct KeyDenial {
    count: OnceLock<BoundCounter<u64>>,
    last_asked: LastAsked,
}

#[derive(Debug)]
struct Recorder {
    denials: Denials,
    metrics: Arc<RequestMetrics>,
}

impl DenialLogLayer {
    pub(crate) fn new(denials: Denials, metrics: Arc<RequestMetrics>) -> Self {
        Self { recorder: Arc::new(Recorder { denials, metrics }) }
    }
}

impl<S> Layer<S> for DenialLogLayer {
    type Service = DenialLog<S>;

    fn layer(&self, inner: S) -> DenialLog<S> {
        DenialLog { inner, recorder: Arc::clone(&self.recorder) }
    }
}

impl<S, B, RB> Service<Request<B>> for DenialLog<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody<RB>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture {
            recorder: Arc::clone(&self.recorder),
            route: Route::of(request.uri().path()),
            method: request.method().clone(),
            is_grpc: is_grpc(request.headers()),
            began: Instant::now(),
            response: self.inner.call(request),
        }
    }
}

impl<F, RB, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody<RB>>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx))?;
        if response.body().is_rejection() {
            if let Some(denial) = response.extensions().get() {
                this.recorder.denials.record(denial);
            }
            let end = grpc_status(response.headers())
                .map_or(End::Http(response.status()), |code| End::Grpc(Some(code)));
            let elapsed = this.began.elapsed();
            this.recorder.metrics.record(*this.route, this.method, *this.is_grpc, end, elapsed);
        }
        Poll::Ready(Ok(response))
    }
}

impl Denials {
    pub(crate) fn new(throttle: Arc<LogThrottle>, meter: &Meter) -> Self {
        let refusals = meter.u64_counter("ingestion.key.refusals").with_unit("{request}");
        let refusals = refusals
            .with_description("Requests with a key that was deleted or disabled, or has expired")
            .build();
        Self { throttle, refusals }
    }

    /// Counts and logs the denial of a request, if its key is known.
    pub(crate) fn record(&self, denial: &Denial) {
        let Some((identity, id)) = denial.identity().and_then(|it| Some((it, it.id()?))) else {
            return;
        };
        let reason = denial.reason();
        let note = identity.handle().and_then(|key: &KeyHandle| key.note(KeyDenials::default));
        let of_reason = note.and_then(|note| match reason {
            DenyReason::Revoked => Some(&note.revoked),
            DenyReason::Expired => Some(&note.expired),
            _ => None,
        });
        // The metrics SDK limits how many key ids the counter keeps.
        let attributes = || {
            [KeyValue::new("key.id", id.to_string()), KeyValue::new("deny.reason", reason.as_str())]
        };
        let is_logged = match of_reason {
            Some(known) => {
                known.count.get_or_init(|| self.refusals.bind(&attributes())).add(1);
                self.throttle.permits_once(Caller::Key(id), reason, &known.last_asked)
            }
            None => {
                self.refusals.add(1, &attributes());
                self.throttle.permits(Caller::Key(id), reason)
            }
        };
        if is_logged {
            tracing::info!(key.id = %id, reason = reason.as_str(), "a key is refused");
        }
    }
}
