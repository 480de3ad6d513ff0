//! Tests of what the agent listener receives besides the payloads of agents.

use prost::Message as _;
use reqwest::{RequestBuilder, StatusCode};

use crate::program::{Gateway, traces};

impl Gateway {
    fn post_agent(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url("agent", path))
    }

    /// Waits until the metrics count this number of items of a kind.
    async fn counts(&self, item: &str, count: usize) -> bool {
        let request = self.client.get(self.url("telemetry", "/metrics"));
        let metrics = request.send().await.unwrap().text().await.unwrap();
        let item = format!("item=\"{item}\"");
        metrics.lines().any(|line| line.contains(&item) && line.ends_with(&format!(" {count}")))
    }
}

// Scenario: a sender of OTLP uses the agent listener with the path prefix for OTLP, with and
// without `/receiver`, in both encodings. It sends good batches, a batch without a key, a batch
// with a wrong key, and a batch to a path that OTLP does not have.
// Guarantee: the items of the good batches are counted as on an OTLP listener. Every other response
// has the status of OTLP and a `google.rpc.Status` in the encoding of the request.
#[tokio::test]
async fn otlp_below_the_prefix_of_agents_is_otlp() {
    let gateway = Gateway::start().await;
    let key = gateway.create("agent").await.secret;
    let batch = traces(7).encode_to_vec();
    let protobuf = |path: &str| {
        let request = gateway.post_agent(path).header("content-type", "application/x-protobuf");
        request.body(batch.clone())
    };
    for prefix in ["/stsAgent/otel", "/receiver/stsAgent/otel"] {
        let path = format!("{prefix}/v1/traces");
        let authorization = format!("SUSEObservability {key}");
        let response = protobuf(&path).header("authorization", authorization).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        let json = gateway.post_agent(&path).header("content-type", "application/json");
        let json = json.header("sts-api-key", &key).body(r#"{"resourceSpans":[]}"#);
        assert_eq!(json.send().await.unwrap().text().await.unwrap(), "{}");

        let wrong = protobuf(&path).header("sts-api-key", "wrong");
        let unknown_path = protobuf(&format!("{prefix}/v1/nothing")).header("sts-api-key", &key);
        for (request, status, code) in
            [(protobuf(&path), 401, 16), (wrong, 401, 16), (unknown_path, 404, 12)]
        {
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()["content-type"], "application/x-protobuf");
            let body = response.bytes().await.unwrap();
            // The first field of the status is its code.
            assert_eq!(body[..2], [0x08, code], "{body:?}");
        }
    }
    assert!(gateway.counts("spans", 14).await);
    assert!(!gateway.counts("agent_requests", 2).await);
}

// Scenario: senders of Prometheus remote write use both paths, with the key in `sts-api-key` or as
// the password of the user `apikey`. Other requests have no key, a wrong key, version 2.0 of the
// protocol, or too many bytes.
// Guarantee: the good requests are answered with success and counted for the key. The others get
// the status after which Prometheus drops its samples. After the status 415, a sender falls back to
// version 1.0.
#[tokio::test]
async fn prometheus_remote_write_is_accepted() {
    let gateway = Gateway::start_with(&["--set", "limits.max_request_body_size=1MiB"]).await;
    let key = gateway.create("prometheus").await;
    let body = remote_write(3);
    let write_as = |path: &str, content_type: &str| {
        let request = gateway.post_agent(path).header("content-encoding", "snappy");
        let request = request.header("x-prometheus-remote-write-version", "0.1.0");
        request.header("content-type", content_type).body(body.clone())
    };
    let write = |path: &str| write_as(path, "application/x-protobuf");
    let paths = ["/receiver/prometheus/api/v1/write", "/prometheus/api/v1/write"];
    for path in paths {
        let in_header = write(path).header("sts-api-key", &key.secret);
        let in_basic = write(path).basic_auth("apikey", Some(&key.secret));
        for request in [in_header, in_basic] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::NO_CONTENT, "{path}");
        }
        let known = || write(path).header("sts-api-key", &key.secret);
        let version_2 =
            write_as(path, "application/x-protobuf;proto=io.prometheus.write.v2.Request");
        let version_2 = version_2.header("sts-api-key", &key.secret);
        let wrong = write(path).basic_auth("apikey", Some("wrong"));
        let large = known().body(vec![0; 2 << 20]);
        let get = gateway.client.get(gateway.url("agent", path)).header("sts-api-key", &key.secret);
        for (request, expected) in
            [(write(path), 401), (wrong, 403), (version_2, 415), (large, 413), (get, 405)]
        {
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), expected, "{path}");
        }
    }
    assert!(gateway.counts("agent_requests", 4).await);
}

/// Encodes a request of remote write 1.0 with one time series and this number of samples.
fn remote_write(samples: usize) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        timeseries: Vec<TimeSeries>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<Sample>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Label {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Sample {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(int64, tag = "2")]
        timestamp: i64,
    }
    let name = Label { name: "__name__".to_owned(), value: "up".to_owned() };
    let samples = vec![Sample { value: 1.0, timestamp: 1_700_000_000_000 }; samples];
    let request = WriteRequest { timeseries: vec![TimeSeries { labels: vec![name], samples }] };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}
