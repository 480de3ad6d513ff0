//! Tests what is counted, through the SDK of OpenTelemetry.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_executor::block_on;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use otlp_auth::client::BearerTokenAuth;
use tower::{Layer, ServiceExt};

use crate::support::{
    ENDPOINT, Log, Refusal, Tokens, accepted, service, wait_for_end, wait_for_header,
};

/// Returns the value of each counter, by its name, unit and attributes.
fn counters(
    provider: &SdkMeterProvider,
    exporter: &InMemoryMetricExporter,
) -> BTreeMap<String, u64> {
    provider.force_flush().unwrap();
    let exported = exporter.get_finished_metrics().unwrap();
    let last = exported.last().into_iter().flat_map(|metrics| metrics.scope_metrics());
    let mut counters = BTreeMap::new();
    for metric in last.flat_map(|scope| scope.metrics()) {
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
            panic!("{metric:?} is no counter")
        };
        for point in sum.data_points() {
            let mut attributes: Vec<_> =
                point.attributes().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
            attributes.sort();
            counters.insert(
                format!("{} {} {}", metric.name(), metric.unit(), attributes.join(" ")),
                point.value(),
            );
        }
    }
    counters
}

/// Makes an authenticator that follows the token file and counts with `meter`.
fn metered(tokens: &Tokens, meter: &Meter) -> BearerTokenAuth {
    let builder = BearerTokenAuth::builder().file(tokens.path()).endpoint(ENDPOINT);
    builder.meter(meter).build().unwrap()
}

/// A client that responds 401 to `token-0`, changes the file to `token-1`, and responds 200 to any
/// other token.
#[derive(Debug)]
struct RefusesOld(Tokens);

#[async_trait::async_trait]
impl HttpClient for RefusesOld {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let old = request.headers()["authorization"] == "StackState token-0";
        if old {
            self.0.replace("token-1\n");
        }
        let status = if old { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
    }
}

/// Scenario: rejected requests are sent again: over HTTP and over gRPC by the layer, and over HTTP
/// by the HTTP wrapper. A token file becomes bad and later good again.
/// Guarantee: resends are counted by transport, and reloads by outcome. No attribute contains a
/// token, host or path.
#[test]
fn resends_and_reloads() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let meter = provider.meter("test");
    let mut followed = Vec::new();
    for refusal in [Refusal::Http, Refusal::TrailersOnly, Refusal::Trailers] {
        let tokens = Tokens::new("token-0");
        let auth = metered(&tokens, &meter);
        followed.push(auth.generation());
        let server = service(&Log::default(), move |got| {
            if got.credentials() != ["StackState token-0"] {
                return accepted();
            }
            tokens.replace("token-1\n");
            refusal.response()
        });
        block_on(auth.layer().layer(server).oneshot(Request::new(Full::new(Bytes::from("batch")))))
            .unwrap();
    }
    let tokens = Tokens::new("token-0");
    let auth = metered(&tokens, &meter);
    followed.push(auth.generation());
    let client = auth.http_client(RefusesOld(tokens.clone()));
    drop(auth);
    block_on(
        client.send_bytes(Request::post("https://otlp.example.com").body(Bytes::new()).unwrap()),
    )
    .unwrap();
    drop(client);
    // This file becomes bad once and good again once. Rejected requests also cause reads of this
    // file, but a read that finds no change is not counted as a reload.
    let tokens = Tokens::new("token-0");
    let auth = metered(&tokens, &meter);
    tokens.replace("two words");
    while auth.failed_reloads() == 0 {
        let refusing = service(&Log::default(), |_| Refusal::Http.response());
        block_on(auth.layer().layer(refusing).oneshot(Request::new(Full::<Bytes>::default())))
            .unwrap();
    }
    tokens.replace("token-1\n");
    wait_for_header(&auth, "StackState token-1");
    followed.push(auth.generation());
    drop(auth);
    // A reload may be counted after its token is first used, but it is counted before the thread
    // that follows the file ends. So the test waits for these threads to end.
    followed.into_iter().for_each(wait_for_end);
    let expected = [
        ("ingestion.auth.reloads {reload} outcome=failure side=client", 1),
        ("ingestion.auth.reloads {reload} outcome=success side=client", 5),
        ("ingestion.auth.resends {request} transport=grpc", 2),
        ("ingestion.auth.resends {request} transport=http", 2),
    ];
    assert_eq!(
        counters(&provider, &exporter),
        expected.map(|(name, value)| (name.to_owned(), value)).into()
    );
}
