//! Tests how much memory a request takes while it is received.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use otlp_receiver::Signal;
use tokio::runtime::Builder;
use tower::ServiceExt;

use crate::recording;

/// The number of spans in a request. Each empty span takes two bytes in protobuf and three bytes in
/// JSON.
const SPANS: usize = 2_000_000;

fn nested(tag: u8, inner: &[u8]) -> Vec<u8> {
    let mut outer = vec![tag];
    prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
    [&outer, inner].concat()
}

// Scenario: two million empty spans arrive, in protobuf and in JSON.
// Guarantee: the spans are counted in the encoded body. Besides the body, which is copied once, the
// receiver allocates less than 64 KiB. Even one byte per span would be 2 MB.
#[test]
fn items_are_not_built() {
    let protobuf = nested(0x0a, &nested(0x12, &[0x12, 0].repeat(SPANS)));
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}}{}]}}]}}]}}"#,
        ",{}".repeat(SPANS - 1)
    );
    for (content_type, body) in
        [("application/x-protobuf", protobuf), ("application/json", json.into_bytes())]
    {
        let (receiver, accepted) = recording();
        let length = body.len() as u64;
        let request = Request::post(Signal::Traces.http_path())
            .header("content-type", content_type)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        // Everything runs on this thread, because only allocations of this thread are measured.
        let runtime = Builder::new_current_thread().build().unwrap();
        let measured = allocation_counter::measure(|| {
            runtime.block_on(receiver.oneshot(request)).unwrap();
        });
        assert_eq!(accepted.lock().unwrap()[0].1, SPANS, "{content_type}");
        let peak = measured.bytes_max - length;
        assert!(peak < 64 << 10, "{content_type}: {peak} bytes");
    }
}
