//! Tests of the health check of gRPC on the OTLP listeners.

use reqwest::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::program::{Gateway, Lines, PATIENCE};

/// The name that means the whole server, and the names of the services of OTLP.
const SERVICES: [&str; 4] = [
    "",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
];

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn connect(gateway: &Gateway, listener: &str) -> HealthClient<Channel> {
    let endpoint = Endpoint::try_from(gateway.url(listener, "")).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

async fn check(gateway: &Gateway, listener: &str, service: &str) -> Result<ServingStatus, Code> {
    let mut client = connect(gateway, listener).await;
    let response = client.check(request(service)).await.map_err(|status| status.code())?;
    Ok(response.get_ref().status())
}

// Scenario: the health of every service and of an unknown service is asked on both OTLP listeners,
// without a key. Then the database is removed, and more time than `max_staleness` passes.
// Guarantee: the whole server and each service of OTLP are serving, as long as the gateway can
// decide about keys, and not serving from then on. The unknown service is not found.
#[tokio::test]
async fn the_health_is_that_of_readyz() {
    let gateway = Gateway::start_with(&[
        "--set=storage.poll_interval=100ms",
        "--set=storage.max_staleness=5s",
    ])
    .await;
    let ready = async || {
        let request = gateway.client.get(gateway.url("telemetry", "/readyz"));
        request.send().await.unwrap().status() == StatusCode::OK
    };
    assert!(ready().await);
    for listener in ["otlp_grpc", "otlp_http"] {
        for service in SERVICES {
            let health = check(&gateway, listener, service).await;
            assert_eq!(health, Ok(ServingStatus::Serving), "{listener} {service}");
        }
        for service in ["opentelemetry", "TraceService", "grpc.health.v1.Health"] {
            let health = check(&gateway, listener, service).await;
            assert_eq!(health, Err(Code::NotFound), "{listener} {service}");
        }
    }
    std::fs::remove_file(gateway.state().join("keys.db")).unwrap();
    tokio::time::timeout(PATIENCE, async { while ready().await {} }).await.unwrap();
    for listener in ["otlp_grpc", "otlp_http"] {
        for service in SERVICES {
            let health = check(&gateway, listener, service).await;
            assert_eq!(health, Ok(ServingStatus::NotServing), "{listener} {service}");
        }
    }
}

// Scenario: a caller without a key sends other requests to the paths of the health check: it
// watches the health, names a service of 1 MiB, and sends HTTP requests that are not gRPC. It also
// calls another method of the service.
// Guarantee: each of these requests is refused at once. Only the two calls of the health check need
// no key.
#[tokio::test]
async fn a_caller_without_a_key_can_only_check() {
    let gateway = Gateway::start().await;
    for listener in ["otlp_grpc", "otlp_http"] {
        let mut client = connect(&gateway, listener).await;
        assert_eq!(client.watch(request("")).await.unwrap_err().code(), Code::Unimplemented);
        let refused = client.check(request(&"s".repeat(1 << 20))).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        let url = gateway.url(listener, "/grpc.health.v1.Health/Check");
        let json = gateway.client.post(&url).header("content-type", "application/json");
        let json = json.body("{}").send().await.unwrap();
        assert_eq!(json.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let get = gateway.client.get(&url).send().await.unwrap();
        assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
        let list = gateway.client.post(gateway.url(listener, "/grpc.health.v1.Health/List"));
        assert_eq!(list.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

// Scenario: a caller without a key begins a request to the health check, and sends no body.
// Guarantee: the request ends long before `limits.idle_timeout`, so that it does not keep the place
// of its connection.
#[tokio::test]
async fn a_caller_without_a_key_occupies_no_place() {
    let gateway = Gateway::start().await;
    let (reader, mut writer) = gateway.connect("otlp_grpc").await.into_split();
    let head = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: g\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    Lines::of(reader).wait_for("grpc-status: 4").await;
}
