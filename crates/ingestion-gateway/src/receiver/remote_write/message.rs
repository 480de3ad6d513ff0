//! The messages of remote write, of which only the items are counted.

use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

/// The message of a version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// `prometheus.WriteRequest` of version 1.0.
    V1,
    /// `io.prometheus.write.v2.Request` of version 2.0.
    V2,
}

/// How many items a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) samples: usize,
    pub(super) histograms: usize,
    pub(super) exemplars: usize,
}

/// The content is not the message.
#[derive(Debug)]
pub(super) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// The numbers of fields in a message.
struct Fields {
    /// The field of the request that has the time series.
    time_series: u32,
    /// The fields of a time series.
    samples: u32,
    histograms: u32,
    exemplars: u32,
}

impl Message {
    /// Returns the message with this full name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "prometheus.WriteRequest" => Some(Self::V1),
            "io.prometheus.write.v2.Request" => Some(Self::V2),
            _ => None,
        }
    }

    fn fields(self) -> Fields {
        match self {
            Self::V1 => Fields { time_series: 1, samples: 2, histograms: 4, exemplars: 3 },
            Self::V2 => Fields { time_series: 5, samples: 2, histograms: 3, exemplars: 4 },
        }
    }

    /// Counts the items of an encoded message. The message is not built in memory, and the content
    /// of the items is not read.
    pub(super) fn count(self, message: &[u8]) -> Result<Written, Malformed> {
        let fields = self.fields();
        let mut written = Written::default();
        for_each_field(message, |number, time_series| {
            if number != fields.time_series {
                return Ok(());
            }
            for_each_field(time_series, |number, _| {
                written.samples += usize::from(number == fields.samples);
                written.histograms += usize::from(number == fields.histograms);
                written.exemplars += usize::from(number == fields.exemplars);
                Ok(())
            })
        })?;
        Ok(written)
    }
}

/// Calls `take` with the number and the content of each field that has a length. Skips all other
/// fields.
fn for_each_field<'a>(
    mut message: &'a [u8],
    mut take: impl FnMut(u32, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !message.is_empty() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        if wire_type != WireType::LengthDelimited {
            encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(encoding::decode_varint(&mut message)?);
        let (field, rest) =
            length.ok().and_then(|length| message.split_at_checked(length)).ok_or(Malformed)?;
        message = rest;
        take(number, field)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a field with this content.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        field.extend_from_slice(content);
        field
    }

    // Scenario: a message of each version has two time series. They have labels, two samples, three
    // histograms and one exemplar. The message also has metadata and a field that is not known.
    // Guarantee: every item is counted under its own name, and nothing else is counted.
    #[test]
    fn items_are_counted_in_both_versions() {
        for (version, [series, samples, histograms, exemplars]) in
            [(Message::V1, [1, 2, 4, 3]), (Message::V2, [5, 2, 3, 4])]
        {
            let first = [field(1, b"label"), field(samples, b"\x09\0\0\0\0\0\0\xf0\x3f")].concat();
            let second = [
                field(samples, b""),
                field(histograms, b"\x08\x01").repeat(3),
                field(exemplars, b""),
                vec![6 << 3, 17],
            ];
            let message = [
                field(7, b"metadata"),
                field(series, &first),
                vec![15 << 3, 1],
                field(series, &second.concat()),
            ];
            let written = version.count(&message.concat()).unwrap();
            assert_eq!(written, Written { samples: 2, histograms: 3, exemplars: 1 });
        }
        assert_eq!(Message::V1.count(b"").unwrap(), Written::default());
    }

    // Scenario: messages end within a key, a length or a field, or have a length that no message
    // can have.
    // Guarantee: each of them is an error.
    #[test]
    fn a_broken_message_is_an_error() {
        for message in [
            &b"\x80"[..],
            b"\x0a",
            b"\x0a\x05abc",
            b"\x0a\x02\x12\x05",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x07\0",
        ] {
            assert!(Message::V1.count(message).is_err(), "{message:?}");
        }
    }
}
