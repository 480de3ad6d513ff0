//! The exports that are sent: spans as an instrumented HTTP service makes them.

use std::io::Write as _;
use std::rc::Rc;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

/// Returns an export of this many spans, about 400 bytes each, as OTLP over HTTP and over gRPC.
pub(crate) fn export(spans: usize, is_gzip: bool) -> (Rc<[u8]>, Rc<[u8]>) {
    let mut random = Random::new(spans as u64);
    let spans = (0..spans).map(|number| span(number, &mut random)).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", text("checkout")),
                    attribute("service.version", text("1.42.0")),
                    attribute("k8s.pod.name", text("checkout-5d9c7b8f6-x2k4q")),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "http-server".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    let mut message = request.encode_to_vec();
    if is_gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&message).unwrap();
        message = encoder.finish().unwrap();
    }
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let grpc = [&[u8::from(is_gzip)], &length[..], &message].concat();
    (message.into(), grpc.into())
}

fn span(number: usize, random: &mut Random) -> Span {
    let start = 1_790_000_000_000_000_000 + number as u64 * 1_000_000 + random.next() % 1_000_000;
    let order = random.next() % 100_000_000;
    Span {
        trace_id: [random.next().to_le_bytes(), random.next().to_le_bytes()].concat(),
        span_id: random.next().to_le_bytes().to_vec(),
        parent_span_id: random.next().to_le_bytes().to_vec(),
        name: "GET /api/orders/{id}".to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + random.next() % 50_000_000,
        attributes: vec![
            attribute("http.request.method", text("GET")),
            attribute("http.route", text("/api/orders/{id}")),
            attribute("url.path", text(&format!("/api/orders/{order}"))),
            attribute("http.response.status_code", Value::IntValue(200)),
            attribute("server.address", text("checkout.shop.svc.cluster.local")),
            attribute("client.address", text(&format!("10.2.{}.{}", order % 256, order % 199))),
            attribute("user.id", text(&format!("{:016x}", random.next()))),
            attribute("network.protocol.version", text("1.1")),
        ],
        ..Span::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

/// The random number generator SplitMix64, so that every run sends the same.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
