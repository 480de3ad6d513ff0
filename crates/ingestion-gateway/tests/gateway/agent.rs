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
        let metrics = self.metrics().await;
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

// Scenario: senders of Prometheus remote write use both paths and both versions, with the key in
// `sts-api-key` or as the password of the user `apikey`. Other requests have no key, a wrong key,
// an unknown message, another compression, a body that is no message or too many bytes.
// Guarantee: the good requests are answered with success, say how many samples were written, and
// their samples are counted. The others get a status after which Prometheus drops its samples.
#[tokio::test]
async fn prometheus_remote_write_is_counted() {
    let gateway = Gateway::start_with(&["--set", "limits.max_request_body_size=1MiB"]).await;
    let key = gateway.create("prometheus").await;
    let snappy = |content: &[u8]| snap::raw::Encoder::new().compress_vec(content).unwrap();
    let write_as = |path: &str, content_type: &str, compression: &str| {
        let request = gateway.post_agent(path).header("content-encoding", compression);
        request.header("content-type", content_type).body(snappy(&remote_write(1, 3)))
    };
    let write = |path: &str| write_as(path, "application/x-protobuf", "snappy");
    for path in ["/receiver/prometheus/api/v1/write", "/prometheus/api/v1/write"] {
        let known = |request: RequestBuilder| request.header("sts-api-key", &key.secret);
        let in_basic = write(path).basic_auth("apikey", Some(&key.secret));
        let version_2 =
            write_as(path, "application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy");
        let version_2 = known(version_2).body(snappy(&remote_write(5, 4)));
        for (request, samples) in [(known(write(path)), "3"), (in_basic, "3"), (version_2, "4")] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::NO_CONTENT, "{path}");
            let written = &response.headers()["x-prometheus-remote-write-samples-written"];
            assert_eq!(written, samples, "{path}");
        }
        let wrong = write(path).basic_auth("apikey", Some("wrong"));
        let unknown = known(write_as(path, "application/x-protobuf;proto=other.Request", "snappy"));
        let brotli = known(write_as(path, "application/x-protobuf", "br"));
        let large = known(write(path)).body(vec![0; 2 << 20]);
        let bomb = known(write(path)).body(snappy(&vec![0; 21 << 20]));
        let broken = known(write(path)).body(snappy(b"\x0a\x05abc"));
        let get = known(gateway.client.get(gateway.url("agent", path)));
        for (request, expected) in [
            (write(path), 401),
            (wrong, 403),
            (unknown, 415),
            (brotli, 415),
            (large, 413),
            (bomb, 413),
            (broken, 400),
            (get, 405),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), expected, "{path}");
        }
    }
    assert!(gateway.counts("data_points", 20).await);
}

/// Encodes a request of remote write with one time series, which is in this field and has this
/// number of samples.
fn remote_write(field: u8, samples: usize) -> Vec<u8> {
    // A sample is field 2 of a time series, and has a value and a time.
    let sample = b"\x12\x10\x09\0\0\0\0\0\0\xf0\x3f\x10\x80\xd0\x95\xff\xbc\x31";
    let time_series = sample.repeat(samples);
    [&[field << 3 | 2, u8::try_from(time_series.len()).unwrap()], &time_series[..]].concat()
}
