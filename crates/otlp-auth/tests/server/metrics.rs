//! Tests that instruments, units and attributes are those in the crate's documentation.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http::{Request, Response, Version};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tower::{Layer, ServiceExt, service_fn};

use crate::receivers::{EXPIRED, LIMITED, NOT_PERMITTED, OUTAGE, REVOKED, TEAM_A, TEAM_B, layer};

/// Returns the value of each counter and the count of each histogram, by instrument, unit and
/// attributes.
pub(crate) fn exported(
    provider: &SdkMeterProvider,
    exporter: &InMemoryMetricExporter,
) -> BTreeMap<String, u64> {
    provider.force_flush().unwrap();
    let finished = exporter.get_finished_metrics().unwrap();
    let mut points = BTreeMap::new();
    for metric in finished.last().unwrap().scope_metrics().flat_map(|scope| scope.metrics()) {
        let mut add = |kind: &str, attributes: Vec<String>, value| {
            let mut attributes = attributes;
            attributes.sort();
            points.insert(
                format!("{} {} {kind} {}", metric.name(), metric.unit(), attributes.join(" ")),
                value,
            );
        };
        let shown = |pair: &opentelemetry::KeyValue| format!("{}={}", pair.key, pair.value);
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                assert!(sum.is_monotonic());
                sum.data_points().for_each(|point| {
                    add("counter", point.attributes().map(shown).collect(), point.value())
                });
            }
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                for point in histogram.data_points() {
                    assert!(
                        point.bounds().next().unwrap() <= 1e-6 && point.sum() > 0.0,
                        "{point:?}"
                    );
                    add("histogram", point.attributes().map(shown).collect(), point.count());
                }
            }
            other => panic!("{}: {other:?}", metric.name()),
        }
    }
    points
}

// Scenario: requests of every outcome are sent to a route over HTTP, to an unknown path over gRPC,
// and to an exempt path.
// Guarantee: each decision is counted once, with exactly the documented instruments, units and
// attributes. No attribute contains a text of the request.
#[tokio::test]
async fn decisions_are_counted() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    const ROUTES: [&str; 2] = ["/v1/logs", "/v1/traces"];
    let layer = layer()
        .with_exempt_path("/health")
        .with_meter(&provider.meter("test"))
        .with_routes(ROUTES, |path| ROUTES.iter().position(|route| *route == path));
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let credentials: [(&str, &[&str]); 11] = [
        ("allow", &[TEAM_A]),
        ("allow", &[TEAM_B]),
        ("missing", &[]),
        ("malformed", &["two words"]),
        ("conflicting", &[TEAM_A, TEAM_B]),
        ("unknown", &["iapikeyok-of-nobody"]),
        ("revoked", &[REVOKED]),
        ("expired", &[EXPIRED]),
        ("not_permitted", &[NOT_PERMITTED]),
        ("limit_exceeded", &[LIMITED]),
        ("undecided", &[OUTAGE]),
    ];
    for (content_type, path, times) in [
        ("application/grpc", "/an.unknown.Service/Export", 1),
        ("application/x-protobuf", "/v1/traces", 2),
        ("", "/health", 5),
    ] {
        for (_, tokens) in credentials {
            for _ in 0..times {
                let request = Request::post(path).version(Version::HTTP_2);
                let mut request = request.header("content-type", content_type);
                for token in tokens {
                    request = request.header("authorization", format!("StackState {token}"));
                }
                service.clone().oneshot(request.body(String::new()).unwrap()).await.unwrap();
            }
        }
    }
    let mut expected = BTreeMap::new();
    for (transport, times, route) in [("grpc", 1, ""), ("http", 2, "http.route=/v1/traces ")] {
        for (outcome, count) in [("allow", 2), ("deny", 8), ("undecided", 1)] {
            expected.insert(
                format!(
                    "ingestion.auth.duration s histogram outcome={outcome} transport={transport}"
                ),
                count * times,
            );
        }
        for (outcome, count) in [("allow", 2), ("undecided", 1)] {
            expected.insert(
                format!("ingestion.auth.decisions {{decision}} counter {route}outcome={outcome} transport={transport}"),
                count * times,
            );
        }
        let reasons = credentials.iter().map(|(label, _)| *label);
        for reason in reasons.filter(|label| !["allow", "undecided"].contains(label)) {
            let attributes =
                format!("deny.reason={reason} {route}outcome=deny transport={transport}");
            expected.insert(
                format!("ingestion.auth.decisions {{decision}} counter {attributes}"),
                times,
            );
        }
    }
    assert_eq!(exported(&provider, &exporter), expected);
}
