//! Tests of received telemetry: its compression, its limits, and what is counted.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use prost::Message;
use reqwest::{RequestBuilder, StatusCode};
use tonic::Code;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use crate::program::{Gateway, traces};

/// A batch with this number of spans is a little larger than 20 MiB.
const TOO_MANY_SPANS: usize = 500_000;

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Returns the name of every compression, and `content` in every format that a sender may send
/// under that name.
pub(crate) fn compressed(content: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let block = snap::raw::Encoder::new().compress_vec(content).unwrap();
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    framed.write_all(content).unwrap();
    let framed = framed.into_inner().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(content).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(content).unwrap();
    vec![
        ("gzip", gzip(content)),
        ("zstd", zstd::encode_all(content, 1).unwrap()),
        ("snappy", block),
        ("snappy", framed.clone()),
        ("x-snappy-framed", framed),
        ("deflate", zlib.clone()),
        ("zlib", zlib),
        ("lz4", lz4.finish().unwrap()),
    ]
}

// Scenario: the same batch is sent over both transports, in every supported compression. Over HTTP
// it is also sent in two ways that are not allowed: with a compression that the body does not have,
// and with an unknown compression.
// Guarantee: the batches in a supported compression are decoded. Their spans, bytes and client are
// counted for the key, and the debug exporter prints how many spans it discarded. The other batches
// are refused.
#[tokio::test]
async fn batches_are_decoded_and_counted() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    gateway.log.wait_for("discarded").await;
    for compression in [None, Some(Gzip), Some(Zstd)] {
        assert_eq!(gateway.send_grpc(&key.secret, 10, compression).await, Code::Ok);
    }
    let content = traces(10).encode_to_vec();
    let post = |encoding: &str, body: Vec<u8>| {
        let request = gateway.post_traces("otlp_http", &key.secret, encoding);
        request.header("user-agent", "a-sender/1").body(body).send()
    };
    assert_eq!(post("identity", content.clone()).await.unwrap().status(), StatusCode::OK);
    let bodies = compressed(&content);
    for (encoding, body) in &bodies {
        let response = post(encoding, body.clone()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{encoding}");
        let (code, _) = gateway.call_grpc("otlp_grpc", &key.secret, encoding, body).await;
        assert_eq!(code, Code::Ok, "{encoding}");
    }
    assert_eq!(post("gzip", content.clone()).await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        post("br", content.clone()).await.unwrap().status(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let key_id = key.id.to_string();
    let metrics = gateway.metrics().await;
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("ingestion_debug_items_total") && line.contains(&key_id))
        .unwrap();
    assert!(counted.contains("item=\"spans\"") && counted.ends_with(" 200"), "{counted}");
    let line = gateway.output.wait_for("spans=").await;
    assert!(line.contains(&format!("\"edge\"({key_id})=")), "{line}");
    let used = gateway.get(key.id).await;
    assert_eq!((&used["accepted"], &used["failed"]), (&20.into(), &2.into()));
    assert!(used["bytes"].as_u64().unwrap() > 2 * content.len() as u64, "{used}");
    let sources = used["sources"].as_array().unwrap();
    assert!(
        sources
            .iter()
            .any(|source| source["address"] == "127.0.0.1" && source["userAgent"] == "a-sender/1"),
        "{used}"
    );
}

// Scenario: small bodies become larger than 20 MiB when they are decompressed. Other bodies are
// larger on the wire than the configured limit.
// Guarantee: each body is refused as too large, and none of its items is counted.
#[tokio::test]
async fn too_much_is_refused() {
    let gateway = Gateway::start_with(&["--set", "limits.max_request_body_size=2MiB"]).await;
    let key = gateway.create("edge").await;
    let send = async |request: RequestBuilder, body: Vec<u8>| {
        request.body(body).send().await.unwrap().status()
    };
    let content = traces(TOO_MANY_SPANS).encode_to_vec();
    assert!(content.len() > 20 << 20);
    let mut bodies = compressed(&content);
    bodies.push(("identity", content.clone()));
    for (encoding, body) in bodies {
        // Without compression, the body exceeds the limit on the wire. With compression, it exceeds
        // only the limit after decompression.
        assert_eq!(
            send(gateway.post_traces("otlp_http", &key.secret, encoding), body).await,
            StatusCode::PAYLOAD_TOO_LARGE,
            "{encoding}"
        );
    }
    let intake = gateway.client.post(gateway.url("agent", "/stsAgent/intake"));
    let intake = intake.header("sts-api-key", &key.secret);
    assert_eq!(send(intake, content).await, StatusCode::PAYLOAD_TOO_LARGE);
    for compression in [Gzip, Zstd] {
        let code = gateway.send_grpc(&key.secret, TOO_MANY_SPANS, Some(compression)).await;
        assert_eq!(code, Code::ResourceExhausted);
    }
    assert_eq!(
        gateway.send_grpc(&key.secret, TOO_MANY_SPANS / 2, None).await,
        Code::ResourceExhausted
    );
    let metrics = gateway.metrics().await;
    assert!(!metrics.contains("ingestion_debug_items_total"), "{metrics}");
}

// Scenario: a sender sends two million empty spans, in protobuf and in JSON. The spans compress to
// almost nothing.
// Guarantee: the gateway counts the spans without building them in memory. The process never uses
// more than 200 MiB, which is less than the built spans alone would need.
#[tokio::test]
async fn small_bodies_do_not_become_large_messages() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    let nested = |tag: u8, inner: Vec<u8>| {
        let mut outer = vec![tag];
        prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
        [outer, inner].concat()
    };
    let spans = 2_000_000;
    let protobuf = nested(0x0a, nested(0x12, [0x12, 0].repeat(spans)));
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}}{}]}}]}}]}}"#,
        ",{}".repeat(spans - 1)
    );
    for (content_type, body) in
        [("application/x-protobuf", protobuf), ("application/json", json.into_bytes())]
    {
        let request = gateway
            .client
            .post(gateway.url("otlp_http", "/v1/traces"))
            .header("content-type", content_type);
        let request = request
            .header("content-encoding", "gzip")
            .header("authorization", format!("StackState {}", key.secret));
        assert_eq!(
            request.body(gzip(&body)).send().await.unwrap().status(),
            StatusCode::OK,
            "{content_type}"
        );
    }
    let metrics = gateway.metrics().await;
    let counted =
        metrics.lines().find(|line| line.starts_with("ingestion_debug_items_total")).unwrap();
    assert!(counted.ends_with(&format!(" {}", 2 * spans)), "{counted}");
    let peak = gateway.peak_memory();
    assert!(peak < 200 << 20, "{peak} bytes");
}

// Scenario: requests that are not OTLP/HTTP arrive with and without a credential.
// Guarantee: without a credential, the response is 401 on every path. With a credential, the
// response says what is wrong.
#[tokio::test]
async fn requests_that_are_not_otlp_are_refused() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await.secret;
    let url = |path: &str| gateway.url("otlp_http", path);
    for path in ["/v1/traces", "/v1/nothing", "/"] {
        let response = gateway.client.post(url(path)).body("").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let known =
        |request: RequestBuilder| request.header("authorization", format!("stackstate {key}"));
    let status =
        async |request: RequestBuilder| known(request).send().await.unwrap().status().as_u16();
    assert_eq!(status(gateway.client.get(url("/v1/traces"))).await, 405);
    assert_eq!(status(gateway.client.post(url("/v1/nothing"))).await, 404);
    assert_eq!(
        status(gateway.client.post(url("/v1/logs")).header("content-type", "text/plain")).await,
        415
    );
    assert_eq!(
        status(
            gateway
                .client
                .post(url("/v1/logs"))
                .header("content-type", "application/json")
                .body("{")
        )
        .await,
        400
    );
    let nested = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        status(
            gateway
                .client
                .post(url("/v1/logs"))
                .header("content-type", "application/json")
                .body(nested)
        )
        .await,
        400
    );
    let unknown = known(gateway.client.post(url("/v1/logs"))).send().await.unwrap();
    assert_eq!(unknown.headers()["content-type"], "application/json");
    assert_eq!(unknown.json::<serde_json::Value>().await.unwrap()["code"], 3);
    let headers = gateway.client.post(url("/v1/logs")).header("x-large", "x".repeat(64 << 10));
    assert_eq!(status(headers).await, 431);
}

// Scenario: a request with `X-Forwarded-For` comes from a trusted proxy. Another such request comes
// from a peer that is not trusted.
// Guarantee: for the trusted proxy, the gateway records the client's address from the header. For
// the other peer, it records the address of the peer, because anybody can write the header.
#[tokio::test]
async fn the_header_of_a_trusted_proxy_is_believed() {
    for (trusted, expected) in
        [("trusted_proxies=[127.0.0.0/8]", "192.0.2.7"), ("trusted_proxies=[]", "127.0.0.1")]
    {
        let gateway = Gateway::start_with(&["--set", trusted]).await;
        let key = gateway.create("edge").await;
        let request = gateway
            .client
            .post(gateway.url("agent", "/stsAgent/intake"))
            .header("sts-api-key", &key.secret);
        let response =
            request.header("x-forwarded-for", "198.51.100.9, 192.0.2.7").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(gateway.get(key.id).await["sources"][0]["address"], expected);
    }
}
