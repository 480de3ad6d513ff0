//! The encodings of OTLP/HTTP messages.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::count;
use crate::refusal::Refusal;
use crate::signal::Signal;

/// How the messages of a request and of its response are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// Returns the encoding that the content type of a request names. Parameters of the content
    /// type are ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value = headers.get(CONTENT_TYPE);
        // As nearly every sender writes it.
        if value.is_some_and(|value| value == "application/x-protobuf") {
            return Ok(Self::Protobuf);
        }
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf") {
            Ok(Self::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else {
            Err(Refusal::UnknownContentType)
        }
    }

    /// Returns the content type of a response in this encoding.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }

    /// Counts the items in a request.
    pub(crate) fn count(self, signal: Signal, request: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Protobuf => count::protobuf(signal, request).map_err(|_| Refusal::Malformed),
            Self::Json => count::json(signal, request).map_err(|_| Refusal::Malformed),
        }
    }

    /// Returns an `Export*ServiceResponse` without fields, which means full success.
    pub(crate) fn success(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Protobuf => b"",
            Self::Json => b"{}",
        })
    }
}
