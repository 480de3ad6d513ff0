//! What a batch is, whichever way it came.
//!
//! Items are counted where they stand, in protobuf and in JSON: nothing is built from a batch,
//! which may be a thousand times as large in memory. They are counted and not validated: what lies
//! below an item is skipped and never decoded, so that it cannot recurse. Groups in protobuf and
//! brackets in JSON are nested up to a limit.

use std::fmt;

use bytes::{Buf, Bytes};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::upstream::debug::Item;

/// How deep objects and lists of JSON may be nested.
const MAX_DEPTH: usize = 128;

/// One kind of telemetry: the path from a request to its items.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) item: Item,
    path: &'static [Step],
}

/// From a message into those of some of its fields.
#[derive(Debug)]
struct Step {
    /// The numbers in protobuf and the names in JSON; of several, one is there.
    fields: &'static [(u32, &'static str)],
    is_list: bool,
}

impl Step {
    const fn list(field: &'static [(u32, &'static str); 1]) -> Self {
        Self { fields: field, is_list: true }
    }
}

pub(super) const TRACES: Signal = Signal {
    item: Item::Span,
    path: &[
        Step::list(&[(1, "resourceSpans")]),
        Step::list(&[(2, "scopeSpans")]),
        Step::list(&[(2, "spans")]),
    ],
};

pub(super) const LOGS: Signal = Signal {
    item: Item::LogRecord,
    path: &[
        Step::list(&[(1, "resourceLogs")]),
        Step::list(&[(2, "scopeLogs")]),
        Step::list(&[(2, "logRecords")]),
    ],
};

pub(super) const METRICS: Signal = Signal {
    item: Item::DataPoint,
    path: &[
        Step::list(&[(1, "resourceMetrics")]),
        Step::list(&[(2, "scopeMetrics")]),
        Step::list(&[(2, "metrics")]),
        Step {
            fields: &[
                (5, "gauge"),
                (7, "sum"),
                (9, "histogram"),
                (10, "exponentialHistogram"),
                (11, "summary"),
            ],
            is_list: false,
        },
        Step::list(&[(1, "dataPoints")]),
    ],
};

impl Signal {
    /// How many items a request has; its own fields and those of each message down to the items
    /// have to be well-formed.
    pub(super) fn count_protobuf(&self, request: Bytes) -> Result<usize, DecodeError> {
        count_protobuf(self.path, request)
    }

    /// The same of a request in JSON. Everywhere `null` is what is empty, as proto3 has it for
    /// fields.
    pub(super) fn count_json(&self, request: &[u8]) -> serde_json::Result<usize> {
        if is_nested_deeper(request, MAX_DEPTH) {
            return Err(serde::de::Error::custom("nested too deep"));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(request);
        let count = Message(self.path).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(count)
    }
}

fn count_protobuf(path: &[Step], mut message: Bytes) -> Result<usize, DecodeError> {
    let Some((step, below)) = path.split_first() else {
        skip_fields(message)?;
        return Ok(1);
    };
    let mut count = 0;
    while message.has_remaining() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        if step.fields.iter().any(|(field, _)| *field == number) {
            encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
            let mut inner = Bytes::new();
            encoding::bytes::merge(wire_type, &mut inner, &mut message, DecodeContext::default())?;
            count += count_protobuf(below, inner)?;
        } else {
            encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
        }
    }
    Ok(count)
}

fn skip_fields(mut message: Bytes) -> Result<(), DecodeError> {
    while message.has_remaining() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
    }
    Ok(())
}

/// Whether there are more brackets in each other. serde_json has a limit for what it builds, and
/// none for what it skips; strings are not looked into, because senders cut them within a
/// character, which it would not build.
fn is_nested_deeper(json: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' if depth == limit => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// Counts in an object.
#[derive(Clone, Copy)]
struct Message<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(usize::from(self.0.is_empty()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let (fields, is_list, below) = match self.0.split_first() {
            Some((step, below)) => (step.fields, step.is_list, below),
            None => (&[][..], false, self.0),
        };
        let mut count = usize::from(self.0.is_empty());
        while let Some(is_wanted) = map.next_key_seed(OneOf(fields))? {
            count += match is_wanted {
                true if is_list => map.next_value_seed(Messages(below))?,
                true => map.next_value_seed(Message(below))?,
                false => map.next_value::<IgnoredAny>().map(|_| 0)?,
            };
        }
        Ok(count)
    }
}

/// Counts in a list of objects.
struct Messages<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
        let mut sum = 0;
        while let Some(count) = list.next_element_seed(Message(self.0))? {
            sum += count;
        }
        Ok(sum)
    }
}

/// Whether a key is one of these.
struct OneOf(&'static [(u32, &'static str)]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0.iter().any(|(_, name)| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn counts<T: prost::Message + Default + Serialize + DeserializeOwned>(
        signal: &Signal,
        request: &serde_json::Value,
    ) -> (usize, usize) {
        // As the published messages have it.
        let request: T = serde_json::from_value(request.clone()).unwrap();
        let in_protobuf = signal.count_protobuf(request.encode_to_vec().into()).unwrap();
        (in_protobuf, signal.count_json(&serde_json::to_vec(&request).unwrap()).unwrap())
    }

    // Scenario: requests of each signal, as the published messages write them, with several
    // resources and scopes and every kind of metric. Guarantee: each item is counted once, in
    // protobuf and in JSON.
    #[test]
    fn items_are_counted() {
        let scopes =
            |list: &str| json!([{"scope": {"name": "s"}, list: [{}, {}]}, {list: [{}]}, {}]);
        let resource = json!({"attributes": [{"key": "k", "value": {"stringValue": "v"}}]});
        let traces = json!({"resourceSpans": [{"resource": resource, "scopeSpans": scopes("spans")}, {"scopeSpans": scopes("spans")}]});
        assert_eq!(counts::<ExportTraceServiceRequest>(&TRACES, &traces), (6, 6));
        let logs =
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": scopes("logRecords")}]});
        assert_eq!(counts::<ExportLogsServiceRequest>(&LOGS, &logs), (3, 3));
        let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
        let metrics: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let temporality = if ["gauge", "summary"].contains(kind) {
                    json!({})
                } else {
                    json!({"aggregationTemporality": 2})
                };
                let mut data = temporality;
                data["dataPoints"] = json!([{}, {}]);
                json!({"name": "m", *kind: data})
            })
            .collect();
        let metrics = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}, {"metrics": [{"name": "none"}]}]}]});
        assert_eq!(counts::<ExportMetricsServiceRequest>(&METRICS, &metrics), (10, 10));
        assert_eq!(
            (TRACES.count_protobuf(Bytes::new()).unwrap(), TRACES.count_json(b"{}").unwrap()),
            (0, 0)
        );
    }

    // Scenario: `null` instead of a list, of a message in one, of a field and of the whole; a
    // string that was cut within a character. Guarantee: it is as good as nothing at all, and what
    // stands beside it is counted.
    #[test]
    fn null_is_empty() {
        let count = |signal: &Signal, request: &str| signal.count_json(request.as_bytes()).unwrap();
        for empty in
            ["null", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[null,{"scopeSpans":null}]}"#]
        {
            assert_eq!(count(&TRACES, empty), 0, "{empty}");
        }
        let spans = r#"{"resourceSpans":[{"resource":null,"scopeSpans":[{"spans":null},{"spans":[{"name":"\ud83d"}]}]}]}"#;
        assert_eq!(count(&TRACES, spans), 1);
        let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":null,"sum":{"dataPoints":[{}]}}]}]}]}"#;
        assert_eq!(count(&METRICS, metrics), 1);
    }

    // Scenario: bodies that are cut off, of wrong types, nested too deep, or something else.
    // Guarantee: none of them counts as a request.
    #[test]
    fn what_is_no_request_is_not_counted() {
        let request = b"\x0a\x06\x12\x04\x12\x02\x2a\x00";
        assert_eq!(TRACES.count_protobuf(Bytes::from_static(request)).unwrap(), 1);
        for end in 1..request.len() {
            assert!(
                TRACES.count_protobuf(Bytes::copy_from_slice(&request[..end])).is_err(),
                "{end}"
            );
        }
        for wrong in [
            &b"\x08\x01"[..],
            b"\x0a\x02\x12\x05",
            b"\x0a\x06\x12\x04\x12\x02\x2a\x01",
            b"hello",
            &[0x1b; 100_000],
        ] {
            assert!(TRACES.count_protobuf(Bytes::copy_from_slice(wrong)).is_err(), "{wrong:?}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let below_item = |depth| {
            let value = nested(depth);
            format!(
                r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"[[\"[{{","x":{value}}}]}}]}}]}}"#
            )
        };
        assert_eq!(TRACES.count_json(below_item(MAX_DEPTH - 7).as_bytes()).unwrap(), 1);
        let nested = [
            format!("{{\"x\":{}}}", nested(MAX_DEPTH)),
            below_item(MAX_DEPTH - 6),
            nested(100_000),
        ];
        let wrong = [
            "",
            "[]",
            "{",
            "{} x",
            r#"{"resourceSpans": {}}"#,
            r#"{"resourceSpans": [1]}"#,
            r#"{"resourceSpans": [{]}"#,
        ];
        for wrong in wrong.into_iter().chain(nested.iter().map(String::as_str)) {
            assert!(TRACES.count_json(wrong.as_bytes()).is_err(), "{wrong:.40}");
        }
    }
}
