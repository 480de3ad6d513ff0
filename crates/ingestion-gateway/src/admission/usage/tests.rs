//! Tests of what counts as a success, and of what is measured.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use ingestion_api::IngestionKey;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::SystemClock;
use ingestion_keys::store::{Change, KeyState, SqliteOptions, SqliteStore};
use ingestion_keys::{KeyDigest, KeyId, KeyRole};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use otlp_auth::server::InMemoryAuthenticator as _;
use otlp_auth::{Credential, Decision};
use prometheus::Registry;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::telemetry::requests::GRPC_STATUS;

type Frame = hyper::body::Frame<Bytes>;

/// A body of these frames. It does not know that it is at its end before it is asked for a
/// further frame.
struct Frames(VecDeque<io::Result<Frame>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame>>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn frames(frames: impl IntoIterator<Item = io::Result<Frame>>) -> Body {
    Body::new(Frames(frames.into_iter().collect()))
}

fn data() -> io::Result<Frame> {
    Ok(Frame::data(Bytes::from_static(b"data")))
}

fn trailers(status: &'static str) -> io::Result<Frame> {
    let status = (HeaderName::from_static(GRPC_STATUS), HeaderValue::from_static(status));
    Ok(Frame::trailers(HeaderMap::from_iter([status])))
}

fn response(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let response = Response::builder().status(status);
    let response =
        headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(body).unwrap()
}

/// Returns a layer, and the registry of its metrics. They exist as long as their provider.
fn layer() -> (UsageLayer, Registry, SdkMeterProvider) {
    let registry = Registry::new();
    let exporter =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    let metrics = Arc::new(RequestMetrics::new(&provider.meter("test"), Arc::default()));
    (UsageLayer::new(metrics), registry, provider)
}

/// Returns how many requests were measured with this label.
fn measured(registry: &Registry, label: &str) -> u64 {
    let families = registry.gather();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let labelled =
        metrics.filter(|metric| metric.get_label().iter().any(|one| one.value() == label));
    labelled.map(|metric| metric.get_histogram().get_sample_count()).sum()
}

/// Returns the number of requests in flight.
fn in_flight(registry: &Registry) -> f64 {
    let families = registry.gather();
    let active = families.iter().find(|one| one.name() == "http_server_active_requests").unwrap();
    active.get_metric()[0].get_gauge().get_value()
}

/// Gives out identities of one key, and counts what is reported about them.
struct Counted {
    cache: KeyCache,
    key: IngestionKey,
}

impl Counted {
    async fn new() -> Self {
        let options = KeyCacheOptions { answers_are_reported: true, ..KeyCacheOptions::default() };
        let cache = KeyCache::new(Arc::new(SystemClock), options);
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(directory.path().join("keys.db"));
        cache.catch_up(&SqliteStore::open(&options).unwrap()).await.unwrap();
        let key = IngestionKey::generate(|bytes| {
            bytes.fill(7);
            Ok::<_, Infallible>(())
        })
        .unwrap();
        let state = KeyState::Live { name: "edge".to_owned(), expires_at: None, enabled: true };
        let (id, digest) = (KeyId::new(7).unwrap(), KeyDigest::of(&key));
        cache.apply(&[Change { revision: 1, id, role: KeyRole::Ingestion, digest, state }]);
        Self { cache, key }
    }

    fn identity(&self) -> Identity {
        let credential = Credential::new("StackState", self.key.expose_secret()).unwrap();
        match self.cache.decide(&credential) {
            Ok(Decision::Allow(identity)) => identity,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the number of accepted and of failed requests.
    fn answers(&self) -> [u64; 2] {
        let totals = self.cache.usage_totals();
        totals.keys.first().map_or([0, 0], |(_, total)| [total.accepted, total.failed])
    }
}

// Scenario: allowed requests get responses of every kind. Each body is read to its end, or only
// its first frame is read, or nothing.
// Guarantee: a request is accepted if its whole response was sent and is a success. Otherwise
// it has failed. Every request is counted once.
#[tokio::test]
async fn an_answer_is_a_success_at_its_end() {
    const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
    let (layer, registry, _provider) = layer();
    let key = Counted::new().await;
    let (all, one) = (usize::MAX, 1);
    let broken = || Err(io::Error::other("broken"));
    let cases = [
        (true, all, response(200, &[], Body::empty())),
        (true, 0, response(204, &[], Body::empty())),
        (true, one, response(200, &[], Body::from("all of it"))),
        (false, 0, response(200, &[], Body::from("all of it"))),
        (true, all, response(200, &[], frames([data(), data()]))),
        (false, one, response(200, &[], frames([data(), data()]))),
        (false, all, response(200, &[], frames([data(), broken()]))),
        (false, all, response(400, &[], Body::empty())),
        (false, all, response(503, &[], Body::from("later"))),
        (true, all, response(200, &[GRPC], frames([data(), trailers("0")]))),
        (false, all, response(200, &[GRPC], frames([data(), trailers("8")]))),
        (false, one, response(200, &[GRPC], frames([data(), trailers("0")]))),
        (false, all, response(200, &[GRPC], frames([data()]))),
        (false, all, response(200, &[GRPC], Body::empty())),
        (true, all, response(200, &[GRPC, (GRPC_STATUS, "0")], Body::empty())),
        (false, all, response(200, &[GRPC, (GRPC_STATUS, "14")], Body::empty())),
    ];
    let mut expected = [0, 0];
    for (index, (is_success, frames, response)) in cases.into_iter().enumerate() {
        let once = Mutex::new(Some(response));
        let service = layer.layer(service_fn(move |_: Request<RequestBody<Body>>| {
            std::future::ready(Ok::<_, Infallible>(once.lock().unwrap().take().unwrap()))
        }));
        let mut request = Request::post("/v1/traces").body(Body::empty()).unwrap();
        request.extensions_mut().insert(key.identity());
        let mut body = service.oneshot(request).await.unwrap().into_body();
        for _ in 0..frames {
            if !matches!(body.frame().await, Some(Ok(_))) {
                break;
            }
        }
        drop(body);
        expected[usize::from(!is_success)] += 1;
        assert_eq!(key.answers(), expected, "case {index}");
        assert_eq!(measured(&registry, "/v1/traces"), index as u64 + 1, "case {index}");
    }
}

// Scenario: the connection breaks before a request is answered, so that the server drops the
// future of the response.
// Guarantee: the request has failed.
#[tokio::test]
async fn no_answer_is_a_failure() {
    let (layer, registry, _provider) = layer();
    let key = Counted::new().await;
    let service =
        layer.layer(service_fn(|_| std::future::pending::<Result<Response<Body>, Infallible>>()));
    let mut request = Request::post("/v1/traces").body(Body::empty()).unwrap();
    request.extensions_mut().insert(key.identity());
    let mut response = Box::pin(service.oneshot(request));
    assert!(poll_now(response.as_mut()).is_pending());
    assert_eq!((in_flight(&registry), key.answers()), (1.0, [0, 0]));
    drop(response);
    assert_eq!((in_flight(&registry), key.answers()), (0.0, [0, 1]));
    assert_eq!(measured(&registry, "incomplete"), 1);
}

/// Polls a future once.
fn poll_now<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// Scenario: a large body arrives in parts, and is dropped before its end.
// Guarantee: every byte is counted once, and most of them before the body ends.
#[tokio::test]
async fn bytes_are_counted_while_a_body_arrives() {
    let key = Counted::new().await;
    let part = || Ok(Frame::data(Bytes::from(vec![0; 100_000])));
    let body = frames([part(), part(), part(), part()]);
    let mut body = RequestBody::new(body, Some(key.identity()));
    let bytes = || key.cache.usage_totals().keys[0].1.bytes;
    for counted in [0, 0, 300_000, 300_000] {
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(bytes(), counted);
    }
    drop(body);
    assert_eq!(bytes(), 400_000);
}
