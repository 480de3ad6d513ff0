//! Tests of what admission costs a request.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use ingestion_api::IngestionKey;
use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::SystemClock;
use ingestion_keys::store::{Change, KeyState, SqliteOptions, SqliteStore};
use ingestion_keys::{KeyDigest, KeyId, KeyRole};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tower::{Service, service_fn};

use super::*;
use crate::telemetry::route::Route;

/// Returns the key of this number.
fn key(number: u8) -> IngestionKey {
    let fill = |bytes: &mut [u8]| {
        bytes.fill(number);
        Ok::<_, Infallible>(())
    };
    IngestionKey::generate(fill).unwrap()
}

/// Returns a cache with the keys 1, which is valid, and 2, which is disabled.
async fn cache() -> Arc<KeyCache> {
    let options = KeyCacheOptions { answers_are_reported: true, ..KeyCacheOptions::default() };
    let cache = KeyCache::new(Arc::new(SystemClock), options);
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(directory.path().join("keys.db"));
    cache.catch_up(&SqliteStore::open(&options).unwrap()).await.unwrap();
    let changes = [(1, true), (2, false)].map(|(number, enabled)| {
        let state = KeyState::Live { name: "edge".to_owned(), expires_at: None, enabled };
        let (id, digest) = (KeyId::new(number.into()).unwrap(), KeyDigest::of(&key(number)));
        Change { revision: 1, id, role: KeyRole::Ingestion, digest, state }
    });
    cache.apply(&changes);
    Arc::new(cache)
}

fn request(number: u8) -> Request<Full<Bytes>> {
    Request::post("/v1/traces")
        .header(AUTHORIZATION, format!("StackState {}", key(number).expose_secret()))
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(USER_AGENT, "a-sender/1")
        .body(Full::new(Bytes::from_static(b"spans")))
        .unwrap()
}

/// Sends a request, and reads its response to the end. Returns the status and the number of
/// allocations.
fn send<S, B>(service: &mut S, request: Request<Full<Bytes>>) -> (StatusCode, u64)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: hyper::body::Body<Data = Bytes>,
{
    let mut status = StatusCode::IM_A_TEAPOT;
    let measured = allocation_counter::measure(|| {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut context) else {
            panic!("the answer is there at once")
        };
        status = response.status();
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut context) {
            assert!(frame.is_ok());
        }
    });
    (status, measured.count_total)
}

// Scenario: a valid and a disabled key send several requests, with admission and with the
// authenticator alone.
// Guarantee: admission allocates nothing for a request, after the first ones of each kind. Each
// request is counted.
#[tokio::test]
async fn admission_allocates_nothing() {
    let cache = cache().await;
    let provider = SdkMeterProvider::builder()
        .with_reader(opentelemetry_prometheus::exporter().build().unwrap())
        .build();
    let meter = provider.meter("test");
    let admission = Admission::new(LogThrottle::for_keys(), Arc::default(), &meter);
    let alone = AuthenticateLayer::new(Arc::clone(&cache));
    let metered = alone.clone().with_meter(&meter).with_routes(Route::names(), Route::index_of);
    let mut admitted = admission.admit(
        &metered,
        service_fn(|request: Request<usage::RequestBody<Full<Bytes>>>| {
            // The body is read as it is forwarded.
            let mut body = pin!(request.into_body());
            let frame = body.frame();
            let mut context = Context::from_waker(Waker::noop());
            assert!(pin!(frame).poll(&mut context).is_ready());
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        }),
    );
    let mut alone = alone.layer(service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    }));
    for (number, status) in [(1, StatusCode::OK), (2, StatusCode::UNAUTHORIZED)] {
        send(&mut admitted, request(number));
        send(&mut alone, request(number));
        let (with, without) =
            (send(&mut admitted, request(number)), send(&mut alone, request(number)));
        assert_eq!((with.0, without.0), (status, status));
        assert_eq!(with.1, without.1, "key {number}");
    }
    let totals = cache.usage_totals();
    let of_key = totals.keys.iter().find(|(id, _)| id.get() == 1).unwrap().1;
    assert_eq!((of_key.accepted, of_key.failed, of_key.bytes), (2, 0, 10));
}
