//! Tests how the layer treats the inner service: its readiness, its errors and its requests.

use std::convert::Infallible;
use std::future::Ready;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_executor::block_on;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use otlp_auth::client::BearerTokenAuth;
use tower::{Layer, Service as _, ServiceBuilder, ServiceExt, service_fn};

use super::refuses_old;
use crate::support::{BoxBody, BoxError, Fed, Log, Refusal, Tokens, fixed, receive};

/// Scenario: the inner service fails on the first request, on the second one, or when it should
/// become ready for the second one.
/// Guarantee: the error of the inner service is returned.
#[test]
fn errors_of_the_service_are_returned() {
    #[derive(Clone)]
    struct Failing {
        fail: &'static str,
        second: bool,
        tokens: Tokens,
    }
    impl tower::Service<Request<Full<Bytes>>> for Failing {
        type Response = Response<BoxBody>;
        type Error = BoxError;
        type Future = Ready<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(if self.second && self.fail == "ready" {
                Err("ready".into())
            } else {
                Ok(())
            })
        }

        fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
            let when = if self.second { "second" } else { "first" };
            self.second = true;
            self.tokens.replace("token-1");
            std::future::ready(if self.fail == when {
                Err(when.into())
            } else {
                Ok(Refusal::Http.response())
            })
        }
    }
    for fail in ["first", "second", "ready"] {
        let tokens = Tokens::new("token-0");
        let auth = tokens.auth();
        let failing = Failing { fail, second: false, tokens };
        let error = block_on(auth.layer().layer(failing).oneshot(Request::new(Full::default())))
            .map(drop)
            .unwrap_err();
        assert_eq!(error.to_string(), fail);
    }
}

/// A service that panics if it is called before it was polled and ready.
#[derive(Clone)]
struct Picky<S> {
    inner: S,
    ready: Ready_,
}

/// Whether a service is ready. A clone is not ready, because readiness is not shared.
struct Ready_(bool);

impl Clone for Ready_ {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl<S: tower::Service<R>, R> tower::Service<R> for Picky<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = self.inner.poll_ready(cx);
        self.ready.0 = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    fn call(&mut self, request: R) -> S::Future {
        assert!(std::mem::take(&mut self.ready.0), "called without being ready");
        self.inner.call(request)
    }
}

/// Scenario: the server allows one stream at a time, and a rejection occupies its stream until the
/// rejection is dropped.
/// Guarantee: the layer drops the rejection before it sends the request again.
#[test]
fn the_refusal_makes_room() {
    struct Held {
        body: BoxBody,
        _stream: Arc<()>,
    }
    impl Body for Held {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Pin::new(&mut self.body).poll_frame(cx)
        }
    }
    for refusal in [Refusal::Http, Refusal::TrailersOnly, Refusal::Trailers] {
        let tokens = Tokens::new("token-0");
        let server = {
            let (tokens, before) = (tokens.clone(), Arc::new(Mutex::new(Weak::new())));
            service_fn(move |_: Request<Full<Bytes>>| {
                let stream = Arc::new(());
                let before =
                    std::mem::replace(&mut *before.lock().unwrap(), Arc::downgrade(&stream));
                assert!(before.upgrade().is_none(), "{refusal:?} is still held");
                tokens.replace("token-1");
                let response = refusal.response().map(|body| Held { body, _stream: stream });
                std::future::ready(Ok::<_, Infallible>(response))
            })
        };
        block_on(tokens.auth().layer().layer(server).oneshot(Request::new(Full::default())))
            .unwrap();
    }
}

/// Scenario: the inner service must become ready for each request, and serves one request at a
/// time. In one case, a queue for one request is in front of the service.
/// Guarantee: the layer waits until the service is ready before it sends a request, and again
/// before it sends the request a second time. The first attempt does not block the second attempt.
#[tokio::test]
async fn readiness_is_asked_for() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let server = refuses_old::<BoxBody>(&log, &tokens, "token-1", Refusal::Trailers);
    let server =
        Picky { inner: tower::limit::ConcurrencyLimit::new(server, 1), ready: Ready_(false) };
    let client = ServiceBuilder::new().layer(tokens.auth().layer()).buffer(1).service(server);
    for _ in 0..3 {
        let body = BoxBody::new(Fed::with([Frame::data("batch".into())]));
        let response = client.clone().oneshot(Request::new(body)).await.unwrap();
        assert_eq!(receive(http::HeaderMap::new(), response.into_body()).await.body(), b"thanks");
    }
    assert_eq!(log.lock().unwrap().len(), 4, "one of three was sent twice");
    // This part has no queue in front of the service, because a queue is always ready.
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let server = refuses_old::<BoxBody>(&log, &tokens, "token-1", Refusal::Http);
    let server =
        tower::limit::ConcurrencyLimit::new(Picky { inner: server, ready: Ready_(false) }, 1);
    let mut client = tokens.auth().layer().layer(server);
    let body = BoxBody::new(Fed::with([Frame::data("batch".into())]));
    client.ready().await.unwrap().call(Request::new(body)).await.unwrap();
    assert_eq!(log.lock().unwrap().len(), 2);
}

/// Scenario: requests have bodies of types that are not HTTP bodies. The token is fixed or comes
/// from a file.
/// Guarantee: the inner service receives the same body values.
#[test]
fn any_request_type() {
    fn passes<B: Clone + PartialEq + std::fmt::Debug + Send + 'static>(
        auth: &BearerTokenAuth,
        body: B,
    ) {
        let expected = body.clone();
        let inner = service_fn(move |request: Request<B>| {
            assert_eq!(*request.body(), expected);
            std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        });
        block_on(auth.layer().layer(inner).oneshot(Request::new(body))).unwrap();
    }
    let tokens = Tokens::new("token-0");
    for auth in [tokens.auth(), fixed()] {
        passes(&auth, ());
        passes(&auth, String::from("a body"));
        passes(&auth, NonZeroUsize::MIN);
    }
}

/// Scenario: a request with a fixed token has a body that the layer could record.
/// Guarantee: the layer passes on the body itself. It allocates no more than a client that sets a
/// constant header.
#[test]
fn a_fixed_token_costs_nothing() {
    #[derive(Clone)]
    struct Sink;
    impl tower::Service<Request<tonic::body::Body>> for Sink {
        type Response = Response<Empty<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
            std::mem::forget(request);
            std::future::ready(Ok(Response::new(Empty::new())))
        }
    }
    let request = || Request::new(tonic::body::Body::new(Full::new(Bytes::from_static(b"batch"))));
    let constant = HeaderValue::from_static("StackState token-0");
    let (mut theirs, ours, first) = (request(), request(), request());
    let mut plain = Sink;
    // The first use may allocate, so it is not measured.
    block_on(plain.call(first)).unwrap();
    let constant_header = allocation_counter::measure(|| {
        theirs.headers_mut().insert("authorization", constant.clone());
        block_on(plain.call(theirs)).unwrap();
    });
    let auth = fixed();
    let mut client = auth.layer().layer(Sink);
    block_on(client.call(request())).unwrap();
    let layer = allocation_counter::measure(|| {
        block_on(client.call(ours)).unwrap();
    });
    assert_eq!(layer.count_total, constant_header.count_total);
    assert_eq!(layer.bytes_total, constant_header.bytes_total);
    // A recorded request does allocate, which shows that the measurement works.
    let tokens = Tokens::new("token-0");
    let mut client = tokens.auth().layer().layer(Sink);
    let recorded = request();
    let file = allocation_counter::measure(|| {
        block_on(client.call(recorded)).unwrap();
    });
    assert!(file.count_total > layer.count_total);
}
